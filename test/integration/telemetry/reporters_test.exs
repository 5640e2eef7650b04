# Penstock.Telemetry with the real libraries: TelemetryMetricsPrometheus.Core, Peep, telemetry_poller and
# LiveDashboard's page of metrics. Runs with PENSTOCK_EBIN, see CONTRIBUTING.md.
if Code.ensure_loaded?(Telemetry.Metrics) and Code.ensure_loaded?(TelemetryMetricsPrometheus.Core) do
  defmodule Penstock.Integration.TelemetryReportersTest do
    use Penstock.TelemetryCase

    alias Penstock.{Ban, Gate, KeyedPool, RateLimiter, Telemetry}

    @moduletag :telemetry

    @compile {:no_warn_undefined, :telemetry}

    @jobs Penstock.Integration.Jobs
    @keyed Penstock.Integration.PerUser
    @api Penstock.Integration.Api
    @logins Penstock.Integration.Logins
    @gate Penstock.Integration.Uploads
    # A name with all that a label must not have.
    @hostile :"a\"b\\c\nd%<script>\0é"

    # Starts a gate of each kind, and has callers admitted, refused and parked.
    defp work do
      start_supervised!({Penstock.Pool, name: @jobs, limit: 1, held_longer_than: 20})
      start_supervised!({Penstock.Pool, name: @hostile, limit: :infinity})
      start_supervised!({KeyedPool, name: @keyed, limit: 1, max_keys: 10})
      start_supervised!({RateLimiter, name: @api, limit: 1, per: 60_000})
      start_supervised!({Ban, name: @logins, failures: 1})
      start_supervised!({Gate, name: @gate, limits: [@logins, @api, @jobs]})

      {:ok, 1} = Penstock.run(@gate, fn -> 1 end, key: 1)
      {:error, {:rate_limited, _ms}} = Penstock.run(@gate, fn -> 1 end, key: 1)
      {:banned, _ms} = Ban.record_failure(@logins, 2)
      holder = holder(@jobs)
      {:error, :full} = tell(actor(), fn -> Penstock.Pool.try_acquire(@jobs) end)
      {:error, :timeout} = Penstock.Pool.acquire(@jobs, timeout: 30)
      :ok = KeyedPool.acquire(@keyed, :secret)
      :ok = Penstock.Pool.acquire(@hostile, permits: 3)
      eventually(fn -> Penstock.Pool.info(@jobs).held_longer_than == 1 end)
      flush()
      holder
    end

    # The lines that each text in Prometheus' format must have. Peep writes floats in another way.
    @lines [
      ~s(penstock_admitted_total{gate="Penstock.Integration.Jobs",kind="pool"} 2),
      ~s(penstock_admitted_total{gate="Penstock.Integration.Uploads",kind="gate"} 1),
      ~s(penstock_refused_total{gate="Penstock.Integration.Jobs",kind="pool",reason="full"} 1),
      ~s(penstock_refused_total{gate="Penstock.Integration.Jobs",kind="pool",reason="timeout"} 1),
      ~s(penstock_refused_total{gate="Penstock.Integration.Uploads",kind="gate",reason="rate_limited"} 1),
      ~s(penstock_bans_total{by="failures",gate="Penstock.Integration.Logins"} 1),
      ~s(penstock_overdue_total{gate="Penstock.Integration.Jobs",kind="pool"} 1),
      ~s(penstock_pool_in_use{gate="Penstock.Integration.Jobs"} 1),
      ~s(penstock_pool_limit{gate="Penstock.Integration.Jobs"} 1),
      ~s(penstock_pool_overdue{gate="Penstock.Integration.Jobs"} 1),
      ~s(penstock_pool_in_use{gate=":%22a%5C%22b%5C%5Cc%5Cnd%25<script>%5C0é%22"} 3),
      ~s(penstock_keyed_pool_in_use{gate="Penstock.Integration.PerUser"} 1),
      ~s(penstock_rate_limiter_keys{gate="Penstock.Integration.Api"} 1),
      ~s(penstock_ban_bans{gate="Penstock.Integration.Logins"} 1),
      ~s(penstock_vm_limit{resource="processes"} #{:erlang.system_info(:process_limit)}),
      ~s(penstock_vm_pressure 0),
      ~s(penstock_wait_duration_milliseconds_count{gate="Penstock.Integration.Jobs",kind="pool",result="timeout"} 1)
    ]

    defp check(text) do
      for line <- @lines, do: assert(text =~ line, "lacks #{line}:\n#{text}")
      refute text =~ "secret"
      refute text =~ "penstock_pool_limit{gate=\":"
      # Each line is a comment, or a sample with labels that nothing has broken.
      for line <- String.split(text, "\n", trim: true) do
        assert line =~ ~r/^# |^penstock_[a-z_]+(\{([a-z]+="[^"\\]*",?)+\})? [0-9.e+-]+$/, line
      end
    end

    test "TelemetryMetricsPrometheus.Core" do
      start_supervised!({TelemetryMetricsPrometheus.Core, metrics: Telemetry.metrics(), name: :penstock_core})
      # The registry attaches its handlers after it has started.
      eventually(fn -> length(:telemetry.list_handlers([:penstock])) == length(Telemetry.metrics()) end)
      work()
      text = TelemetryMetricsPrometheus.Core.scrape(:penstock_core)
      show("prometheus_core", text)
      check(text)
      assert text =~ ~r/milliseconds_bucket\{gate="Penstock.Integration.Jobs",kind="pool",result="timeout",le="25"\} 0/

      assert text =~
               ~r/milliseconds_bucket\{gate="Penstock.Integration.Jobs",kind="pool",result="timeout",le="300000"\} 1/
    end

    if Code.ensure_loaded?(Peep) do
      test "Peep" do
        start_supervised!({Peep, name: :penstock_peep, metrics: Telemetry.metrics()})
        work()
        text = :penstock_peep |> Peep.get_all_metrics() |> Peep.Prometheus.export() |> IO.iodata_to_binary()
        show("peep", text)
        check(text)
        assert [_all, ms] = Regex.run(~r/milliseconds_sum\{[^}]*result="timeout"\} (\d+)/, text)
        assert String.to_integer(ms) in 29..10_000
      end
    end

    if Code.ensure_loaded?(:telemetry_poller) do
      test "telemetry_poller" do
        work()
        hear([[:penstock, :pool, :usage]])

        poller =
          start_supervised!({:telemetry_poller, measurements: [{Telemetry, :measure, []}], period: 20, name: :poller})

        for _ <- 1..5, do: assert_receive({:event, _event, %{in_use: 1}, %{gate: @jobs}, ^poller})
        # A measurement that has raised would be gone.
        assert [_measure] = :telemetry_poller.list_measurements(poller)
      end
    end

    if Code.ensure_loaded?(Phoenix.LiveDashboard.MetricsPage) do
      test "LiveDashboard's page of metrics" do
        alias Phoenix.LiveDashboard.{MetricsPage, TelemetryListener}
        metrics = Telemetry.metrics()

        for {metric, id} <- Enum.with_index(metrics) do
          assigns = MetricsPage.assigns_from_metric("penstock-#{id}", metric)
          chart = struct(Phoenix.LiveView.Socket) |> Map.fetch!(:assigns) |> Map.merge(assigns)
          # The data is in `streams` in the oldest releases of LiveDashboard 0.8.
          chart = Map.merge(%{hint: nil, full_width: false, data: [], streams: %{data: []}}, chart)
          html = chart |> Phoenix.LiveDashboard.ChartComponent.render() |> Phoenix.HTML.Safe.to_iodata()
          html = IO.iodata_to_binary(html)
          assert html =~ Enum.join(metric.name, ".")
          assert html =~ ~s(data-metric="#{assigns.kind}")
        end

        start_supervised!(%{id: :listener, start: {TelemetryListener, :start_link, [{self(), metrics}]}})
        work()
        shown = shown(metrics)
        assert {"penstock.admitted.total", "Penstock.Integration.Jobs pool", 2} in shown
        assert {"penstock.refused.total", "Penstock.Integration.Jobs pool full", 1} in shown
        assert {"penstock.pool.in_use", "Penstock.Integration.Jobs", 1} in shown
        assert {"penstock.vm.pressure", nil, 0} in shown
        assert Enum.any?(shown, &match?({"penstock.wait.duration.milliseconds", _label, ms} when ms >= 29, &1))
        refute inspect(shown) =~ "secret"
      end
    end

    # Returns what the dashboard's listener has sent: the name of the metric, the label, the value.
    defp shown(metrics) do
      receive do
        {:telemetry, entries} ->
          for({id, label, value, _time} <- entries, do: {Enum.join(Enum.at(metrics, id).name, "."), label, value}) ++
            shown(metrics)
      after
        0 -> []
      end
    end

    # Keeps the text where SHOW names a directory, for people.
    defp show(name, text), do: if(dir = System.get_env("SHOW"), do: File.write!(Path.join(dir, name <> ".txt"), text))
  end
end
