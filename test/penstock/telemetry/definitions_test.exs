defmodule Penstock.Telemetry.DefinitionsTest do
  # The metrics of Penstock.Telemetry.metrics/0, and their labels. The tests run on a stand-in for
  # Telemetry.Metrics, or on the real one with PENSTOCK_EBIN. test/integration/telemetry has real
  # reporters.
  #
  # | scenario                          | rules out                                                     |
  # |-----------------------------------|---------------------------------------------------------------|
  # | without the dependency            | an empty list, which hides the mistake                        |
  # | all definitions                   | a summary, a distribution without buckets, two of one name    |
  # | their tags                        | a key or a pid that becomes a label                           |
  # | real events of all gates          | a metric that no event feeds, a measurement that is no number |
  # | names with all sorts of characters| a label that breaks a format, two names with one label        |
  use Penstock.TelemetryCase

  alias Penstock.{Ban, Gate, KeyedPool, RateLimiter, Telemetry}
  alias Penstock.Telemetry.Label

  # `Telemetry` is an alias here.
  @metrics :"Elixir.Telemetry.Metrics"
  @real Code.ensure_loaded?(@metrics)

  # The real structs have more fields. These are those that the tests read.
  defp with_metrics(_context) do
    unless Code.ensure_loaded?(@metrics) do
      code =
        quote do
          @moduledoc false
          def sum(name, opts), do: metric(:sum, name, opts)
          def last_value(name, opts), do: metric(:last_value, name, opts)
          def distribution(name, opts), do: metric(:distribution, name, opts)

          defp metric(type, name, opts) do
            name = name |> String.split(".") |> Enum.map(&String.to_atom/1)
            Map.merge(%{type: type, name: name, reporter_options: []}, Map.new(opts))
          end
        end

      Module.create(@metrics, code, Macro.Env.location(__ENV__))

      on_exit(fn ->
        :code.delete(@metrics)
        :code.purge(@metrics)
      end)
    end

    :ok
  end

  defp type(%{type: type}), do: type
  defp type(%module{}), do: module |> Module.split() |> List.last() |> Macro.underscore() |> String.to_atom()

  unless @real do
    test "without the dependency raise an error that names it" do
      assert_raise RuntimeError, ~r/needs the dependency :telemetry_metrics; add it to mix.exs/, &Telemetry.metrics/0
    end
  end

  describe "the definitions" do
    setup :with_metrics

    test "have each a name, an event and tags, none of which is a key or a pid" do
      metrics = Telemetry.metrics()
      names = Enum.map(metrics, &Enum.join(&1.name, "."))
      assert names == Enum.uniq(names)

      for metric <- metrics do
        assert [:penstock | _] = metric.event_name
        assert metric.tags -- [:gate, :kind, :reason, :result, :by, :from, :to, :resource] == []
        assert is_binary(metric.description) and metric.description != ""
        assert type(metric) in [:sum, :last_value, :distribution]
        # No unit is lost: the last part of each name of a time has it.
        if type(metric) == :distribution, do: assert(List.last(metric.name) == :milliseconds)
      end
    end

    test "have buckets where they count times" do
      assert [waits] = Enum.filter(Telemetry.metrics(), &(type(&1) == :distribution))
      buckets = waits.reporter_options[:buckets]
      assert buckets == Enum.sort(Enum.uniq(buckets)) and length(buckets) > 5
    end

    test "are each in the documentation" do
      {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Telemetry)
      assert [doc] = for({{:function, :metrics, 0}, _, _, %{"en" => doc}, _} <- docs, do: doc)
      for %{name: name} <- Telemetry.metrics(), do: assert(doc =~ "`#{List.last(name)}`" or doc =~ documented(name))
    end

    defp documented([:penstock, _group | rest] = name),
      do: if(doc_of_group?(rest), do: "`#{Enum.join(rest, ".")}`", else: "`#{Enum.join(name, ".")}`")

    defp doc_of_group?(rest), do: rest == [:used, :ratio]

    test "are each fed by an event whose measurement is a number" do
      events = Telemetry.metrics() |> Enum.map(& &1.event_name) |> Enum.uniq()
      hear(events)
      cause_all()
      told = all_told()
      assert Enum.sort(Map.keys(told)) == Enum.sort(events)

      for metric <- Telemetry.metrics() do
        values =
          for {measurements, metadata} <- told[metric.event_name], value = value(metric.measurement, measurements) do
            assert is_number(value)
            for tag <- metric.tags, do: assert(is_map_key(metric.tag_values.(metadata), tag))
            value
          end

        assert values != [], inspect(metric.name)
      end
    end
  end

  defp value(measurement, measurements) when is_function(measurement, 1), do: measurement.(measurements)
  defp value(measurement, measurements), do: Map.fetch!(measurements, measurement)

  defp all_told do
    receive do
      {:event, event, measurements, metadata, _pid} ->
        Map.update(all_told(), event, [{measurements, metadata}], &[{measurements, metadata} | &1])
    after
      0 -> %{}
    end
  end

  # Causes each event once at least.
  defp cause_all do
    pool = start_pool(limit: 2, held_longer_than: 1, max_overdraft: 2)
    keyed = unique_name()
    start_supervised!({KeyedPool, name: keyed, limit: 1, max_keys: 10})
    limiter = unique_name()
    start_supervised!({RateLimiter, name: limiter, limit: 1, per: 60_000})
    ban = unique_name()
    start_supervised!({Ban, name: ban, max_bans: 1})
    gate = unique_name()
    start_supervised!({Gate, name: gate, limits: [pool]})

    holder(pool, 2)
    {:error, :timeout} = Pool.acquire(pool, timeout: 1)
    # A static child of a supervisor that starts is let in beyond the limit, as a restart is.
    {:ok, supervisor} = Supervisor.start_link([Penstock.GatedChildren.spec(1, pool)], strategy: :one_for_one)

    {:ok, {_pid, monitor}} =
      Penstock.spawn_monitor(keyed, fn -> receive do: (:never -> :ok) end, key: 1, max_runtime: 1)

    await_down(monitor)
    for key <- 1..5, do: Ban.ban(ban, key, 60_000)
    Penstock.Telemetry.Pressure.tell({0, 1, [:processes]})
    eventually(fn -> Pool.info(pool).held_longer_than > 0 end)
    eventually(fn -> KeyedPool.info(keyed).released_by_exit > 0 end)
    flush()
    Supervisor.stop(supervisor)
  end

  describe "the label of a gate" do
    test "is its name as Elixir shows it" do
      assert Label.name(MyApp.Jobs) == "MyApp.Jobs"
      assert Label.name(:jobs) == ":jobs"
      assert Label.name(nil) == "unnamed"
      assert Label.of(%{gate: MyApp.Jobs, kind: :pool}) == %{gate: "MyApp.Jobs", kind: :pool}
      assert Label.of(%{resource: :ports}) == %{resource: :ports}
    end

    test "has no character that a format could take for its own, and differs for each name" do
      names =
        for(char <- 0..0x17F, do: :"a#{<<char::utf8>>}b") ++
          [:"a%22b", :"a\\\"b", :"a\\nb", :"a\nb", :"", :"<script>", :" ", List.to_atom(List.duplicate(0x1F600, 255))]

      labels = Enum.map(names, &Label.name/1)
      for label <- labels, do: assert(String.valid?(label) and not (label =~ ~r/["\\\x00-\x1f\x7f]/))
      assert length(Enum.uniq(labels)) == length(Enum.uniq(names))
      # What was encoded can be decoded.
      assert URI.decode(Label.name(:"a\"b\n%")) == inspect(:"a\"b\n%")
    end
  end
end
