defmodule Penstock.MetricsTest do
  # | scenario                                  | rules out                                          |
  # |-------------------------------------------|----------------------------------------------------|
  # | a gate of each kind, both formats         | text that the grammar forbids, another sample      |
  # | traffic with each answer                  | a count that is not the gate's own                 |
  # | a new gate                                | a reason that appears with its first refusal       |
  # | hostile names                             | a name that ends its label, or its line            |
  # | secret keys                               | a key in a label                                   |
  # | an owner that is killed                   | a counter that begins again                        |
  # | gates that open, close and die meanwhile  | a scrape that raises, text that is cut             |
  # | readers at once, holders that die         | a counter that falls                               |
  # | more gates than are shown                 | series without bound, gates that silently miss     |
  # | no application                            | a scrape that needs it                             |
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, ChildJobs, ChildVM, Exposition, Gate, KeyedPool, Metrics, RateLimiter}
  alias Penstock.View.Totals

  doctest Penstock.Metrics

  @formats [:prometheus, :openmetrics]

  defp families(format \\ :openmetrics), do: Exposition.parse!(Metrics.scrape(format), format)

  # Returns the value of a metric of a gate.
  defp value(families, metric, name, labels \\ %{}),
    do: Exposition.value(families, "penstock_" <> metric, Map.put(labels, "gate", inspect(name)))

  defp refused(families, name, reason), do: value(families, "refused_total", name, %{"reason" => "#{reason}"})

  # Starts a gate of each kind. Returns their names.
  defp each_kind do
    pool = start_gate(Pool, limit: 2)
    keyed_pool = start_gate(KeyedPool, limit: 2, max_keys: 10)
    limiter = start_gate(RateLimiter, limit: 2, per: 60_000, max_keys: 10)
    ban = start_gate(Ban, max_keys: 10, max_bans: 10)
    gate = start_gate(Gate, limits: [pool, limiter, ban])
    %{pool: pool, keyed_pool: keyed_pool, rate_limiter: limiter, ban: ban, gate: gate}
  end

  describe "a scrape" do
    for format <- @formats do
      test "is valid #{format}, and has each kind" do
        names = each_kind()
        families = families(unquote(format))
        for {kind, name} <- names, do: assert(value(families, "gate_open", name, %{"kind" => "#{kind}"}) == 1)
      end
    end

    test "has the same samples in both formats" do
      names = for {_kind, name} <- each_kind(), do: inspect(name)

      [a, b] =
        for format <- @formats do
          for {_family, %{samples: samples}} <- families(format), {name, labels, _value} <- samples do
            {name, labels}
          end
          |> Enum.filter(fn {_name, labels} -> labels["gate"] == nil or labels["gate"] in names end)
          |> Enum.sort()
        end

      assert a == b
      assert length(a) > 100
    end

    test "has no other metric of a kind than the kind has" do
      names = each_kind()
      families = families()
      has = fn name -> for {family, _} <- families, has_gate?(families[family], name), do: family end
      assert "penstock_permits_limit" in has.(names.pool)
      assert Enum.sort(has.(names.gate)) == ~w(penstock_admitted penstock_gate_open penstock_refused)

      assert Enum.sort(has.(names.ban)) ==
               ~w(penstock_banned penstock_bans penstock_bans_dropped penstock_bans_limit penstock_gate_open penstock_memory_bytes)

      assert Enum.sort(has.(names.rate_limiter)) ==
               ~w(penstock_admitted penstock_gate_open penstock_keys penstock_keys_limit penstock_memory_bytes) ++
                 ~w(penstock_rate_limit_per_second penstock_refused)
    end

    test "raises for another format" do
      assert_raise ArgumentError, "expected format to be :prometheus or :openmetrics, got: :json", fn ->
        Metrics.scrape(:json)
      end

      assert_raise ArgumentError, ~r/^expected format to be/, fn -> Metrics.content_type("text") end
    end

    test "has the VM's figures and the versions" do
      families = families()
      status = Penstock.VM.status()
      assert Exposition.value(families, "penstock_vm_limit", %{"resource" => "processes"}) == status.processes.limit
      assert Exposition.value(families, "penstock_vm_used_ratio", %{"resource" => "atoms"}) > 0.001
      assert Exposition.value(families, "penstock_vm_pressure", %{}) in 0..3

      assert Exposition.value(families, "penstock_info", %{
               "otp" => System.otp_release(),
               "version" => to_string(Application.spec(:penstock, :vsn))
             }) == 1
    end
  end

  defp has_gate?(family, name), do: Enum.any?(family.samples, fn {_, labels, _} -> labels["gate"] == inspect(name) end)

  describe "a pool" do
    test "has its own figures" do
      pool = start_gate(Pool, limit: 3, max_waiting: 1, held_longer_than: 60_000)
      holder = holder(pool, 2)
      {:error, :full} = Pool.try_acquire(pool, 2)
      {:error, :full} = Pool.try_acquire(pool, 4)
      :ok = Pool.try_acquire(pool)
      {waiter, _ref} = park(pool)
      {:error, :queue_full} = Pool.acquire(pool)
      families = families()

      for {metric, expected} <- [
            admitted_total: 2,
            permits_limit: 3,
            permits_in_use: 3,
            permits_overdraft: 0,
            holders: 2,
            holders_overdue: 0,
            waiting: 1,
            waiting_limit: 1,
            gate_open: 1,
            released_by_exit_total: 0,
            killed_total: 0,
            overdrawn_total: 0
          ] do
        assert {metric, value(families, "#{metric}", pool)} == {metric, expected}
      end

      for pid <- [waiter, holder], do: kill(pid)
      eventually(fn -> Pool.info(pool).released_by_exit == 2 end)
      {:error, :timeout} = tell(actor(), fn -> Pool.acquire(pool, permits: 3, timeout: 1) end)
      :ok = Pool.update(pool, limit: 0)
      {:error, {:timeout, 1}} = Pool.drain(pool, 0)
      {:error, :closed} = Pool.try_acquire(pool)
      families = families()
      assert value(families, "released_by_exit_total", pool) == 2
      assert refused(families, pool, :timeout) == 1
      assert value(families, "permits_overdraft", pool) == 1
      assert value(families, "gate_open", pool) == 0
    end

    test "without a limit has +Inf as its limit, so that a share of it is 0" do
      pool = start_gate(Pool, limit: :infinity)
      assert value(families(), "permits_limit", pool) == :infinity
      assert Exposition.value(families(:prometheus), "penstock_permits_limit", %{"gate" => inspect(pool)}) == :infinity
    end

    test "has no overdue holders without the option" do
      assert value(families(), "holders_overdue", start_gate(Pool, limit: 1)) == nil
    end
  end

  test "each reason of a kind has a sample from the start" do
    names = each_kind()
    families = families()

    reasons = fn name ->
      for {_, %{"reason" => reason, "gate" => gate}, 0} <- families["penstock_refused"].samples,
          gate == inspect(name),
          do: reason
    end

    assert reasons.(names.pool) == ~w(full queue_full timeout closed)
    assert reasons.(names.keyed_pool) == ~w(key_full table_full queue_full timeout closed)
    assert reasons.(names.rate_limiter) == ~w(rate_limited)
    assert reasons.(names.ban) == []

    assert Enum.sort(reasons.(names.gate)) ==
             Enum.sort(~w(overloaded banned rate_limited key_full table_full full queue_full timeout closed deadlock))
  end

  test "limiters, keyed pools and gates count what they answer" do
    names = each_kind()
    :ok = KeyedPool.try_acquire(names.keyed_pool, "a", 2)
    {:error, :timeout} = KeyedPool.acquire(names.keyed_pool, "a", timeout: 1)
    for _ <- 1..5, do: RateLimiter.hit(names.rate_limiter, "a")
    :ok = Ban.ban(names.ban, "b", 60_000)
    {:error, {:banned, _}} = Penstock.run(names.gate, fn -> :never end, key: "b", timeout: 0)
    {:ok, _} = Penstock.run(names.gate, fn -> :ok end, key: "c")
    families = families()
    assert value(families, "admitted_total", names.keyed_pool) == 1
    assert value(families, "permits_in_use", names.keyed_pool) == 2
    assert value(families, "permits_limit_per_key", names.keyed_pool) == 2
    assert value(families, "permits_limit", names.keyed_pool) == nil
    assert refused(families, names.keyed_pool, :timeout) == 1
    assert value(families, "keys", names.keyed_pool) == 1
    # One more by the gate.
    assert value(families, "admitted_total", names.rate_limiter) == 3
    assert refused(families, names.rate_limiter, :rate_limited) == 3
    assert_in_delta value(families, "rate_limit_per_second", names.rate_limiter), 2 / 60, 1.0e-9
    assert value(families, "bans", names.ban) == 1
    assert value(families, "bans_limit", names.ban) == 10
    assert value(families, "admitted_total", names.gate) == 1
    assert refused(families, names.gate, :banned) == 1

    for name <- [names.keyed_pool, names.rate_limiter, names.ban],
        do: assert(value(families, "memory_bytes", name) > 100)
  end

  describe "hostile input" do
    test "names of gates are inert" do
      names =
        for text <- [
              "a\"b\n<script>alert(1)</script>",
              "\\",
              "\\n",
              "\"} 1\npenstock_evil 1",
              "\r\n# EOF\n",
              "\0\e[2J\u202Eאב",
              String.duplicate("ж", 255),
              String.duplicate("🐟", 255),
              "{a=\"b\",c=\"d\"}",
              # Tests that run meanwhile rely on the empty name to be that of no gate.
              " "
            ],
            do: start_gate(Pool, name: :"#{text}", limit: 1)

      for format <- @formats, families = families(format), name <- names do
        assert value(families, "permits_limit", name) == 1
      end

      refute IO.iodata_to_binary(Metrics.scrape()) =~ ~r/^penstock_evil/m
    end

    test "keys are never in the text" do
      names = each_kind()
      key = "a-secret-#{System.unique_integer([:positive])}"
      :ok = KeyedPool.try_acquire(names.keyed_pool, key)
      RateLimiter.hit(names.rate_limiter, key)
      Ban.ban(names.ban, key, 60_000, key)
      for format <- @formats, do: refute(IO.iodata_to_binary(Metrics.scrape(format)) =~ key)
    end
  end

  test "counters survive a kill of the owner" do
    names = each_kind()
    :ok = Pool.try_acquire(names.pool)
    {:error, :full} = Pool.try_acquire(names.pool, 3)
    RateLimiter.hit(names.rate_limiter, "a")
    Ban.ban(names.ban, "a", 60_000)
    before = families()

    for metric <- ["admitted_total"],
        name <- [names.pool, names.rate_limiter],
        do: assert(value(before, metric, name) == 1)

    for name <- Map.values(names) do
      owner = Penstock.Native.gate_owner(name)
      kill(owner)
      eventually(fn -> Penstock.Native.gate_owner(name) not in [owner, nil] end)
    end

    later = families()

    for {family, %{type: "counter", samples: samples}} <- before,
        {name, labels, value} <- samples,
        labels["gate"] in Enum.map(Map.values(names), &inspect/1) do
      assert Exposition.value(Map.take(later, [family]), name, labels) == value
    end
  end

  test "a scrape stands gates that open, close and die meanwhile" do
    storms =
      for _ <- 1..4 do
        name = unique_name()

        Task.async(fn ->
          for n <- 1..60 do
            {:ok, owner} = open(rem(n, 4), name)
            Process.unlink(owner)
            if rem(n, 3) == 0, do: kill(owner), else: GenServer.stop(owner)
          end
        end)
      end

    scrapers = for format <- [:prometheus, :openmetrics], do: Task.async(fn -> scrape_until_stopped(format, 0) end)
    Task.await_many(storms, patience(60_000))
    for scraper <- scrapers, do: send(scraper.pid, :stop)
    for scraper <- scrapers, do: assert(Task.await(scraper, patience(60_000)) > 0)
  end

  test "a gate that takes over a name counts from 0, and other kinds may take it" do
    name = unique_name()
    kinds = [{Pool, [limit: 300]}, {RateLimiter, [limit: 300, per: 60_000, max_keys: 10]}, {Ban, [max_keys: 10]}]

    storm =
      Task.async(fn ->
        for n <- 1..300 do
          {module, opts} = Enum.at(kinds, rem(n, 3))
          {:ok, owner} = module.start_link([name: name] ++ opts)
          if module == Pool, do: for(_ <- 1..rem(n, 40)//1, do: :ok = Pool.try_acquire(name))
          GenServer.stop(owner)
        end

        {:ok, owner} = Pool.start_link(name: name, limit: 1)
        Process.unlink(owner)
        owner
      end)

    read_until_over(storm, name)
    owner = Task.await(storm)
    assert %{kind: :pool, admitted: 0} = Totals.read(name)
    GenServer.stop(owner)
  end

  # No opening of this name admits more than 40 requests.
  defp read_until_over(storm, name) do
    with %{admitted: admitted} <- Totals.read(name), do: assert(admitted <= 40)
    if Process.alive?(storm.pid), do: read_until_over(storm, name)
  end

  # A crashed owner leaves its gate, which the next owner of the same kind adopts, and which bars
  # other kinds from the name.
  defp open(kind, name) do
    name = Module.concat(name, "Kind#{kind}")

    case kind do
      0 -> Pool.start_link(name: name, limit: 5)
      1 -> KeyedPool.start_link(name: name, limit: 5, max_keys: 10)
      2 -> RateLimiter.start_link(name: name, limit: 5, per: 1_000, max_keys: 10)
      3 -> Ban.start_link(name: name, max_keys: 10, max_bans: 10)
    end
  end

  defp scrape_until_stopped(format, n) do
    families(format)

    receive do
      :stop -> n + 1
    after
      0 -> scrape_until_stopped(format, n + 1)
    end
  end

  describe "a VM of its own" do
    test "that has 1,005 gates shows 1,000 of them, and tells how many are left out" do
      assert ChildVM.run(ChildJobs.Scrapes, :many_gates, [1_005]) == {1_000, 5, 1_005}
    end

    test "needs no application" do
      assert ChildVM.run(ChildJobs.Scrapes, :without_application, []) == {1, 0}
    end
  end

  describe "the files in priv" do
    for file <- ["prometheus/alerts.yml", "grafana/penstock.json"] do
      test "#{file} names only metrics that there are" do
        text = File.read!(Path.join(:code.priv_dir(:penstock), unquote(file)))
        named = Regex.scan(~r/\bpenstock_[a-z_]+/, text) |> List.flatten() |> Enum.uniq()
        start_gate(Pool, limit: 1, held_longer_than: 1)
        each_kind()

        samples =
          for {_family, %{samples: samples}} <- families(), {name, _labels, _value} <- samples, uniq: true, do: name

        assert length(named) > 10
        assert named -- samples == []
      end
    end
  end

  describe "the documentation" do
    test "lists each metric that a scrape has" do
      each_kind()
      {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Metrics)
      for {name, _family} <- families(:prometheus), do: assert(doc =~ "`#{name}`")
    end
  end
end
