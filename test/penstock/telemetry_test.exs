defmodule Penstock.TelemetryTest do
  # The events that the reporter tells, and those of bans.
  #
  # | scenario                                     | rules out                                            |
  # |----------------------------------------------|------------------------------------------------------|
  # | each kind of gate, each figure               | a wrong figure, one that is told twice or never      |
  # | a flush without anything new                 | an event for nothing                                 |
  # | a gate that is closed and started again      | figures of the old gate in those of the new one      |
  # | an owner that crashes                        | figures that are told again                          |
  # | a handler that comes late, or for a time     | figures that are lost, or told twice                 |
  # | handlers of other events only                | a walk along all holders for nothing                 |
  # | overdue holders, old, new and 10,000 of them | a holder told twice or never, a flood of events      |
  # | `:telemetry` absent, late, unloaded, stopped | a flush that fails, figures that are lost            |
  # | ten pollers at once                          | figures that one poller takes from another           |
  # | kills, and very many of them                 | a kill without an event, a flood of messages         |
  # | failures that reach the threshold at once    | a ban told twice or never                            |
  # | the application stopped and started          | figures that are told again                          |
  # | a start of the application that fails        | what was told is forgotten                           |
  use Penstock.TelemetryCase

  import ExUnit.CaptureLog

  alias Penstock.{Ban, Gate, GatedChildren, KeyedPool, Native, RateLimiter, Telemetry, TelemetryStandIn}
  alias Penstock.Telemetry.{Baselines, Figures, Kills, Pressure, Reporter}

  doctest Penstock.Telemetry

  @flow [:penstock, :gate, :flow]
  @refused [:penstock, :gate, :refused]
  @exit [:penstock, :holder, :exit]
  @overdue [:penstock, :holder, :overdue]
  @killed [:penstock, :work, :killed]
  @overdrawn [:penstock, :restart, :overdrawn]
  @dropped [:penstock, :ban, :dropped]
  @put [:penstock, :ban, :put]
  @usage for kind <- [:pool, :keyed_pool, :rate_limiter, :ban], do: [:penstock, kind, :usage]
  @growing [@flow, @refused, @exit, @killed, @overdrawn, @dropped]

  # Returns the growth that a flush tells of a gate: a map of events, or of {event, reason}, to numbers.
  defp grown(gate) do
    flush()
    told_growth(gate)
  end

  # Returns the growth that one flush has told. A further event of the same figure would be an error.
  defp told_growth(gate) do
    told = heard(gate)
    grown = for event <- told, into: %{}, do: growth(event)
    assert map_size(grown) == length(told)
    grown
  end

  defp growth({event, measurements, metadata}) do
    case {event, measurements} do
      {@flow, %{admitted: admitted, refused: refused}} -> {:flow, {admitted, refused}}
      {@refused, %{count: n}} -> {metadata.reason, n}
      {event, measurements} -> {event, measurements}
    end
  end

  describe "the growth of" do
    setup do
      hear(@growing)
      :ok
    end

    test "a pool is told once, and the flow even if nothing has flown" do
      pool = start_pool(limit: 1, max_waiting: 1)
      assert grown(pool) == %{flow: {0, 0}}

      for _ <- 1..3, do: Penstock.run(pool, fn -> :ok end)
      :ok = Pool.acquire(pool)
      for _ <- 1..2, do: {:error, :full} = tell(actor(), fn -> Pool.try_acquire(pool) end)
      {:error, :timeout} = tell(actor(), fn -> Pool.acquire(pool, timeout: 1) end)
      {waiter, _ref} = park(pool)
      {:error, :queue_full} = tell(actor(), fn -> Pool.acquire(pool) end)
      assert grown(pool) == %{flow: {4, 4}, full: 2, timeout: 1, queue_full: 1}
      assert grown(pool) == %{flow: {0, 0}}
      kill(waiter)
    end

    test "a keyed pool is told by its reasons" do
      keyed = start_gate(KeyedPool, limit: 1, max_keys: 1, max_waiting: 1)
      :ok = KeyedPool.acquire(keyed, :a)
      {:error, :key_full} = tell(actor(), fn -> KeyedPool.try_acquire(keyed, :a) end)
      {:error, :timeout} = tell(actor(), fn -> KeyedPool.acquire(keyed, :a, timeout: 1) end)
      refused = for key <- 1..100, {:error, :table_full} <- [KeyedPool.try_acquire(keyed, key)], do: key
      assert length(refused) > 0

      assert %{key_full: 1, timeout: 1, table_full: full, flow: {admitted, all}} = grown(keyed)
      assert full == length(refused)
      assert all == 2 + full
      assert admitted == KeyedPool.info(keyed).acquired
      assert grown(keyed) == %{flow: {0, 0}}
    end

    test "a rate limiter, a ban and a gate" do
      limiter = start_gate(RateLimiter, limit: 2, per: 60_000, clock: :manual)
      pool = start_pool(limit: 1)
      ban = start_gate(Ban, max_bans: 1)
      gate = start_gate(Gate, limits: [ban, limiter, pool])
      assert {:ok, 1} = Penstock.run(gate, fn -> 1 end, key: 1)
      :ok = Ban.ban(ban, 2, 10_000)
      assert {:error, {:banned, _ms}} = Penstock.run(gate, fn -> 1 end, key: 2)
      holder(pool)
      for _ <- 1..2, do: assert({:error, :full} = Penstock.run(gate, fn -> 1 end, key: 1, timeout: 0))
      {:allow, 0} = RateLimiter.hit(limiter, 1)
      {:deny, _ms} = RateLimiter.hit(limiter, 1)

      flush()
      assert told_growth(gate) == %{flow: {1, 3}, banned: 1, full: 2}
      assert told_growth(limiter) == %{flow: {2, 1}, rate_limited: 1}
      assert told_growth(ban) == %{}
      for key <- 3..5, do: Ban.ban(ban, key, 10_000)
      assert grown(ban) == %{@dropped => %{count: Ban.info(ban).dropped}}
      assert Ban.info(ban).dropped > 0
    end

    test "exits, kills and restarts is told once" do
      pool = start_pool(limit: 10, max_overdraft: 5)
      for permits <- 1..3, do: pool |> holder(permits) |> kill()
      assert all_back(pool, 10) == {0, 0, 0}
      assert %{@exit => %{permits: 6}} = grown(pool)

      {:ok, {_pid, monitor}} = Penstock.spawn_monitor(pool, fn -> receive do: (:never -> :ok) end, max_runtime: 1)
      assert await_down(monitor) == :killed
      assert all_back(pool, 10) == {0, 0, 0}
      assert %{@killed => %{count: 1}, @exit => %{permits: 1}} = grown(pool)
      assert grown(pool) == %{flow: {0, 0}}
    end

    test "children above the limit is told once" do
      pool = start_pool(limit: 1)
      :ok = Pool.acquire(pool)
      # A static child of a supervisor that starts is let in beyond the limit, as a restart is. No holder
      # is dead here, whose permit it could take over.
      start_supervised!(%{
        id: :supervisor,
        start: {Supervisor, :start_link, [[GatedChildren.spec(1, pool)], [strategy: :one_for_one]]},
        type: :supervisor
      })

      assert %{@overdrawn => %{count: 1}} = grown(pool)
      assert grown(pool) == %{flow: {0, 0}}
    end

    test "a gate that is started again begins at 0" do
      name = unique_name()

      for round <- 1..3 do
        start_supervised!({Pool, name: name, limit: 1})
        for _ <- 1..round, do: Penstock.run(name, fn -> :ok end)
        assert grown(name) == %{flow: {round, 0}}
        :ok = stop_supervised({Pool, name})
        assert flushed(name) == []
        assert Baselines.get(name, 0) == {%{}, nil}
        assert :ets.lookup(Baselines, name) == []
      end
    end

    test "a gate whose owner crashes goes on" do
      pool = start_pool(limit: 1)
      for _ <- 1..3, do: Penstock.run(pool, fn -> :ok end)
      assert grown(pool) == %{flow: {3, 0}}
      owner = Native.gate_owner(pool)
      kill(owner)
      eventually(fn -> Native.gate_owner(pool) not in [owner, nil] end)
      Penstock.run(pool, fn -> :ok end)
      assert grown(pool) == %{flow: {1, 0}}
    end
  end

  describe "handlers" do
    test "that come late hear of all that was counted, and each figure is told once" do
      pool = start_pool(limit: 1)
      for _ <- 1..3, do: Penstock.run(pool, fn -> :ok end)
      flush()
      id = hear([@refused])
      :ok = Pool.acquire(pool)
      {:error, :full} = tell(actor(), fn -> Pool.try_acquire(pool) end)
      assert grown(pool) == %{full: 1}
      hear([@flow])
      assert grown(pool) == %{flow: {4, 1}}

      deafen(id)
      {:error, :full} = tell(actor(), fn -> Pool.try_acquire(pool) end)
      assert grown(pool) == %{flow: {0, 1}}
      hear([@refused])
      assert grown(pool) == %{flow: {0, 0}, full: 1}
    end

    test "of other events make no flush read the gates" do
      pool = start_pool(limit: 1, held_longer_than: 60_000)
      hear([[:penstock, :wait, :stop], [:penstock, :vm, :status], [:penstock, :vm, :pressure], @put])
      flush()
      # A flush that reads a gate keeps what it has told of it.
      assert :ets.lookup(Baselines, pool) == []

      for event <- [@flow, @dropped, @overdue, [:penstock, :pool, :usage]] do
        id = hear([event])
        flush()
        assert [{^pool, _opening, _told, _mark}] = :ets.lookup(Baselines, pool)
        deafen(id)
        :ets.delete(Baselines, pool)
      end
    end

    test "that raise are detached, and the others go on" do
      pool = start_pool(limit: 1)
      hear([@flow], &fail/4)
      hear([@flow])
      capture_log(fn -> assert grown(pool) == %{flow: {0, 0}} end)
      Penstock.run(pool, fn -> :ok end)
      assert grown(pool) == %{flow: {1, 0}}
    end
  end

  def fail(_event, _measurements, _metadata, _test), do: raise("no")

  describe ":telemetry" do
    test "can be absent, come late, be unloaded, stop and come again" do
      :ok = TelemetryStandIn.stop()
      pool = start_pool(limit: 1)
      run = fn -> Penstock.run(pool, fn -> :ok end) end
      run.()
      assert flush() == :ok
      assert Telemetry.measure() == :ok

      :ok = TelemetryStandIn.start()
      hear([@flow])
      assert grown(pool) == %{flow: {1, 0}}

      run.()
      :ok = TelemetryStandIn.unload()
      assert flush() == :ok
      assert Telemetry.measure() == :ok
      :ok = TelemetryStandIn.stop()
      run.()
      assert flush() == :ok

      :ok = TelemetryStandIn.start()
      hear([@flow])
      assert grown(pool) == %{flow: {2, 0}}
    end
  end

  describe "an overdue holder" do
    setup do
      hear([@overdue])
      :ok
    end

    defp overdue(pool, count) do
      eventually(fn -> Pool.info(pool).held_longer_than == count end)
      for {@overdue, measurements, metadata} <- flushed(pool), do: {measurements, metadata}
    end

    test "is told once, with its pid" do
      pool = start_pool(limit: 10, held_longer_than: 20)
      first = holder(pool, 2)
      assert [{%{count: 1, permits: 2, held_ms: ms}, %{pid: ^first, kind: :pool}}] = overdue(pool, 1)
      assert ms > 20
      assert overdue(pool, 1) == []

      second = holder(pool)
      # The first is not told again.
      assert [{%{count: 1, permits: 1}, %{pid: ^second}}] = overdue(pool, 2)
      assert overdue(pool, 2) == []

      # A holder that begins again is a new one.
      :ok = tell(second, fn -> Pool.release(pool) end)
      :ok = tell(second, fn -> Pool.acquire(pool) end)
      assert [{_measurements, %{pid: ^second}}] = overdue(pool, 2)
      assert overdue(pool, 2) == []
      for pid <- [first, second], do: kill(pid)
      assert overdue(pool, 0) == []
      third = holder(pool)
      assert [{_measurements, %{pid: ^third}}] = overdue(pool, 1)
    end

    test "that holds when a handler comes is told" do
      pool = start_pool(limit: 10, held_longer_than: 20)
      holder = holder(pool)
      :telemetry.list_handlers(@overdue) |> Enum.each(&deafen(&1.id))
      assert overdue(pool, 1) == []
      hear([@overdue])
      assert [{_measurements, %{pid: ^holder}}] = overdue(pool, 1)
    end

    test "of many is told by number beyond the first 100" do
      pool = start_pool(limit: :infinity, held_longer_than: 20)
      test = self()

      pids =
        for _ <- 1..3_000 do
          spawn_link(fn ->
            :ok = Pool.acquire(pool)
            send(test, {:held, self()})
            receive do: (:never -> :ok)
          end)
        end

      for pid <- pids, do: assert_receive({:held, ^pid})
      told = overdue(pool, 3_000)
      assert length(told) == 101
      assert told |> Enum.map(fn {measurements, _metadata} -> measurements.count end) |> Enum.sum() == 3_000
      assert {%{count: 2_900}, %{pid: nil}} = List.last(told)
      some = for {%{count: 1}, %{pid: pid}} when pid != nil <- told, do: pid
      assert length(Enum.uniq(some)) == 100 and some -- pids == []
      assert overdue(pool, 3_000) == []
    end

    test "of a pool that has none, or no such option, is not looked for" do
      pool = start_pool(limit: 1)
      holder(pool)
      assert flushed(pool) == []
    end
  end

  describe "measure/0" do
    test "tells what is in use of each kind of gate" do
      hear(@usage)
      pool = start_pool(limit: 3, held_longer_than: 60_000)
      endless = start_pool(limit: :infinity)
      keyed = start_gate(KeyedPool, limit: 2, max_keys: 10)
      limiter = start_gate(RateLimiter, limit: 1, per: 60_000, max_keys: 100)
      ban = start_gate(Ban, max_bans: 10)
      holder(pool, 2)
      {waiter, _ref} = park(pool, permits: 3)
      holder(endless)
      :ok = KeyedPool.acquire(keyed, 1)
      RateLimiter.hit(limiter, 1)
      Ban.ban(ban, 1, 60_000)

      assert Telemetry.measure() == :ok

      assert heard(pool) == [
               {[:penstock, :pool, :usage],
                %{
                  in_use: 2,
                  limit: 3,
                  available: 1,
                  overdraft: 0,
                  waiting: 1,
                  max_waiting: 1_000,
                  holders: 1,
                  overdue: 0
                }, %{kind: :pool}}
             ]

      assert heard(endless) == [
               {[:penstock, :pool, :usage], %{in_use: 1, overdraft: 0, waiting: 0, max_waiting: 1_000, holders: 1},
                %{kind: :pool}}
             ]

      assert heard(keyed) == [
               {[:penstock, :keyed_pool, :usage],
                %{limit: 2, in_use: 1, keys: 1, max_keys: 10, waiting: 0, max_waiting: 1_000}, %{kind: :keyed_pool}}
             ]

      assert heard(limiter) == [
               {[:penstock, :rate_limiter, :usage], %{keys: 1, max_keys: 100}, %{kind: :rate_limiter}}
             ]

      assert heard(ban) == [{[:penstock, :ban, :usage], %{bans: 1, max_bans: 10}, %{kind: :ban}}]
      kill(waiter)
    end

    test "takes nothing from a flush, nor from other pollers at the same time" do
      pool = start_pool(limit: 3)
      holder(pool, 2)
      Penstock.run(pool, fn -> :ok end)
      hear([@flow, [:penstock, :pool, :usage]])

      pollers = for _ <- 1..10, do: Task.async(fn -> for _ <- 1..20, do: Telemetry.measure() end)
      assert pollers |> Task.await_many() |> List.flatten() |> Enum.uniq() == [:ok]
      polled = heard(pool)
      assert length(polled) == 200
      assert [{[:penstock, :pool, :usage], %{in_use: 2, available: 1}, %{kind: :pool}}] = Enum.uniq(polled)
      assert [{@flow, %{admitted: 2, refused: 0}, _}, {[:penstock, :pool, :usage], _, _}] = flushed(pool)
    end

    test "begins at any gate, so that each limiter has its keys counted at times" do
      limiters = for _ <- 1..3, do: start_gate(RateLimiter, limit: 1, per: 1_000)

      # The chance that one of 20 gates is never first is below 1 in 10^9.
      firsts =
        for _ <- 1..500 do
          Process.delete(:first)
          Figures.each(fn %{name: name} -> Process.get(:first) || Process.put(:first, name) end)
          Process.get(:first)
        end

      assert limiters -- firsts == []
    end

    test "tells the use of the VM" do
      hear([[:penstock, :vm, :usage], [:penstock, :vm, :status]])
      assert Telemetry.measure() == :ok
      limit = :erlang.system_info(:process_limit)
      assert_received {:event, [:penstock, :vm, :usage], %{count: _, limit: ^limit, used: used}, metadata, _pid}
      assert metadata == %{resource: :processes} and used > 0
      for resource <- [:ports, :atoms, :ets, :run_queue], do: assert_received({:event, _, _, %{resource: ^resource}, _})
      assert_received {:event, [:penstock, :vm, :status], %{pressure: 0}, %{pressure: :normal, because: []}, _pid}
    end

    test "leaves out what has no handler" do
      pool = start_pool(limit: 3)
      hear([[:penstock, :vm, :status]])
      assert Telemetry.measure() == :ok
      assert heard(pool) == []
      assert_received {:event, [:penstock, :vm, :status], _, _, _}
      refute_received {:event, _, _, _, _}
    end
  end

  describe "the pressure" do
    setup do
      hear([[:penstock, :vm, :pressure]])
      :ok
    end

    test "that changes is told by the reporter, for the sampler" do
      :ok = :sys.resume(Reporter)
      reporter = Process.whereis(Reporter)
      # The next sample finds the pressure normal again.
      :ok = Native.vm_set(2, 0)
      assert_receive {:event, [:penstock, :vm, :pressure], measurements, metadata, ^reporter}
      assert measurements == %{count: 1, pressure: 0}
      assert metadata == %{from: :high, to: :normal, because: []}
      :ok = :sys.suspend(reporter)
    end

    test "that changes too often for the reporter is dropped" do
      flush()
      for _ <- 1..150, do: :ok = Pressure.notice(0, 1, Reporter)
      {:messages, messages} = Process.info(Process.whereis(Reporter), :messages)
      assert Enum.count(messages, &match?({:pressure, _change}, &1)) == 100
      flush()
      :ok = Pressure.notice(0, 3, Reporter)
      :ok = :sys.resume(Reporter)
      assert_receive {:event, _, %{pressure: 3}, %{from: :normal, to: :critical}, _}
      :ok = :sys.suspend(Reporter)
      told = for _ <- 1..100, do: assert_received({:event, _, %{pressure: 1}, %{to: :elevated}, _})
      assert length(told) == 100
      refute_received {:event, _, _, _, _}
    end

    test "that does not change, or has no reporter, is not told" do
      assert Pressure.notice(1, 1, Reporter) == :ok
      assert Pressure.notice(0, 1, Penstock.NoSuchProcess) == :ok
      {:messages, messages} = Process.info(Process.whereis(Reporter), :messages)
      refute Enum.any?(messages, &match?({:pressure, _change}, &1))
    end
  end

  describe "a kill" do
    setup do
      hear([[:penstock, :work, :kill]])
      :ok
    end

    test "past a :max_runtime is told by the reporter, with the pid" do
      :ok = :sys.resume(Reporter)
      reporter = Process.whereis(Reporter)
      keyed = start_gate(KeyedPool, limit: 1, max_keys: 1)

      for {gate, opts} <- [{start_pool(limit: 1), []}, {Pool.new(limit: 1), []}, {keyed, [key: 1]}] do
        never = fn -> receive do: (:never -> :ok) end
        {:ok, {pid, monitor}} = Penstock.spawn_monitor(gate, never, [max_runtime: 1] ++ opts)
        assert await_down(monitor) == :killed
        assert_receive {:event, [:penstock, :work, :kill], %{count: 1}, %{pid: ^pid}, ^reporter}
      end

      :ok = :sys.suspend(reporter)
      refute_received {:event, _, _, _, _}
    end

    test "is not told if too many wait for the reporter" do
      flush()
      pids = for _ <- 1..150, do: spawn(fn -> :ok end)
      for some <- Enum.chunk_every(pids, 64), do: :ok = Kills.notice(some, Reporter)
      # The count of the changes is another one.
      :ok = Pressure.notice(0, 1, Reporter)
      flush()
      another = spawn(fn -> :ok end)
      :ok = Kills.notice([another], Reporter)
      :ok = :sys.resume(Reporter)
      assert_receive {:event, _, _, %{pid: ^another}, _}
      :ok = :sys.suspend(Reporter)
      told = for _ <- 1..100, do: assert_received({:event, _, %{count: 1}, %{pid: _}, _})
      assert Enum.map(told, &elem(&1, 3).pid) == Enum.take(pids, 100)
      refute_received {:event, _, _, _, _}
      assert Kills.notice(pids, Penstock.NoSuchProcess) == :ok
    end
  end

  describe "a ban" do
    setup do
      hear([@put])
      :ok
    end

    test "by failures is told once, by the failure that made it" do
      ban = start_gate(Ban, failures: 3, ban_for: 100, escalate: 2, clock: :manual)

      for {level, ms} <- [{1, 100}, {2, 200}] do
        for _ <- 1..2, do: {:ok, _left} = Ban.record_failure(ban, {:key, 1})
        assert heard(ban) == []
        assert {:banned, ^ms} = Ban.record_failure(ban, {:key, 1})
        assert {:banned, ^ms} = Ban.record_failure(ban, {:key, 1})

        assert heard(ban) == [
                 {@put, %{count: 1, duration_ms: ms}, %{by: :failures, reason: :failures, level: level, key: {:key, 1}}}
               ]

        Ban.advance(ban, ms)
      end
    end

    test "by failures of many callers at once is told once" do
      for _ <- 1..50 do
        ban = start_gate(Ban, failures: 2, max_keys: 10, max_bans: 10)
        tasks = for _ <- 1..8, do: Task.async(fn -> Ban.record_failure(ban, :key) end)
        Task.await_many(tasks)
        assert [{@put, %{count: 1}, %{by: :failures, level: 1}}] = heard(ban)
        :ok = stop_supervised(ban)
      end
    end

    test "by a call is told with its reason, and without a duration if it has no end" do
      ban = start_gate(Ban, [])
      :ok = Ban.ban(ban, "mallory", 1_000, "sent spam")
      :ok = Ban.ban(ban, "mallory", :infinity)

      assert heard(ban) == [
               {@put, %{count: 1, duration_ms: 1_000}, %{by: :call, reason: "sent spam", key: "mallory"}},
               {@put, %{count: 1}, %{by: :call, reason: :manual, key: "mallory"}}
             ]
    end

    test "is made although its handler fails" do
      ban = start_gate(Ban, failures: 1)
      hear([@put], &fail/4)
      capture_log(fn -> assert {:banned, 300_000} = Ban.record_failure(ban, 1) end)
      capture_log(fn -> assert :ok = Ban.ban(ban, 2, 1_000) end)
      assert length(heard(ban)) == 2
    end
  end

  describe "what was told" do
    test "is known to the next application" do
      Application.stop(:penstock)
      # Gates live on while the application is stopped. This one belongs to this test.
      name = unique_name()
      :ok = Application.start(:penstock)
      {:ok, _owner} = Pool.start_link(name: name, limit: 1)
      :ok = :sys.suspend(Reporter)
      hear([@flow])
      for _ <- 1..3, do: Penstock.run(name, fn -> :ok end)
      assert grown(name) == %{flow: {3, 0}}

      capture_log(fn ->
        :ok = Application.stop(:penstock)
        assert Telemetry.measure() == :ok
        # A start that fails forgets nothing.
        true = Process.register(self(), Penstock.Supervisor)
        assert {:error, _reason} = Application.start(:penstock)
        true = Process.unregister(Penstock.Supervisor)
        :ok = Application.start(:penstock)
      end)

      :ok = :sys.suspend(Reporter)
      Penstock.run(name, fn -> :ok end)
      assert grown(name) == %{flow: {1, 0}}
      :ok = :sys.resume(Reporter)
    end
  end

  @compile {:no_warn_undefined, :telemetry}
end
