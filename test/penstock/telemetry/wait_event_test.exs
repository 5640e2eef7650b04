defmodule Penstock.Telemetry.WaitEventTest do
  # The event of a wait: once for each wait that ended, and for nothing else.
  #
  # | scenario                                     | rules out                                          |
  # |----------------------------------------------|----------------------------------------------------|
  # | each function that waits, each kind of gate  | a wait without an event, or with two               |
  # | a caller that is admitted or refused at once | an event for what has not waited                   |
  # | timeout, close, a smaller limit              | a wrong result                                     |
  # | a known wait                                 | a duration from another clock, or in another unit  |
  # | a stream that gives up and asks again        | an element with two events, or without one         |
  # | handlers that raise, exit and throw          | a caller that is harmed, or loses its permit       |
  # | `:telemetry` unloaded, or stopped            | a caller that raises                               |
  use Penstock.TelemetryCase

  alias Penstock.{Gate, KeyedPool, RateLimiter, TelemetryStandIn}
  alias Penstock.Task.Stream.{Clock, Patience}
  alias Penstock.Telemetry.WaitEvent

  @event [:penstock, :wait, :stop]

  setup do
    # A wait begins after its modules are loaded, which takes long the first time.
    for module <- [WaitEvent, Clock, Patience], do: {:module, ^module} = Code.ensure_loaded(module)
    hear([@event])
    :ok
  end

  # Runs `wait` in an actor while all permits of the pool are held, and then releases them. Returns the
  # result of the actor.
  defp while_full(pool, wait) do
    holder = holder(pool)
    waiter = actor()
    ref = ask(waiter, wait)
    await_waiting(pool, 1)
    :ok = tell(holder, fn -> Pool.release(pool) end)
    answer(ref)
  end

  # Waits until a process that a pool has parked waits for the answer. By then its wait has begun.
  defp await_parked(pid), do: eventually(fn -> Process.info(pid, :status) == {:status, :waiting} end)

  # Returns the results of the waits at a gate that have been told, and the kind of the gate.
  defp results(gate), do: for({@event, %{duration: _}, metadata} <- heard(gate), do: {metadata.kind, metadata.result})

  describe "a pool" do
    test "tells each wait of acquire, run, spawn, start_process, tasks and supervisors once" do
      pool = start_pool(limit: 1)

      waits = [
        fn -> with :ok <- Pool.acquire(pool), do: Pool.release(pool) end,
        fn -> Penstock.run(pool, fn -> :ok end) end,
        fn -> Penstock.spawn(pool, fn -> :ok end, timeout: 10_000) end,
        fn -> Penstock.spawn_link(pool, fn -> :ok end, timeout: 10_000) end,
        fn -> Penstock.start_process(pool, {Task, :start, [fn -> :ok end]}, timeout: 10_000) end,
        fn -> Penstock.Task.start(pool, fn -> :ok end, timeout: 10_000) end,
        fn -> Penstock.Task.async!(pool, fn -> :ok end) |> Task.await() end
      ]

      for wait <- waits do
        assert while_full(pool, wait) not in [:error, {:error, :timeout}]
        assert results(pool) == [{:pool, :ok}]
        assert all_back(pool, 1) == {0, 0, 0}
        heard(pool)
      end
    end

    test "of a supervisor tells a wait once" do
      name = unique_name()
      start_supervised!({Penstock.DynamicSupervisor, name: name, limit: 1})
      spec = %{id: :child, start: {Task, :start_link, [fn -> :ok end]}, restart: :temporary}

      assert {:ok, _pid} =
               while_full(name, fn -> Penstock.DynamicSupervisor.start_child(name, spec, timeout: 10_000) end)

      assert results(name) == [{:pool, :ok}]
    end

    test "tells the reason of a wait that was refused" do
      pool = start_pool(limit: 1)
      holder = holder(pool)
      assert Pool.acquire(pool, timeout: 1) == {:error, :timeout}
      assert results(pool) == [{:pool, :timeout}]

      {_pid, ref} = park(pool, permits: 1)
      spawn(fn -> Pool.drain(pool, 0) end)
      assert answer(ref) == {:error, :closed}
      assert_receive {:event, @event, _, %{gate: ^pool, result: :closed}, _waiter}
      :ok = Pool.reopen(pool)
      kill(holder)
    end

    test "tells nothing of a caller that is admitted, or refused, at once" do
      pool = start_pool(limit: 1, max_waiting: 1)
      assert {:ok, 1} = Penstock.run(pool, fn -> 1 end)
      :ok = Pool.acquire(pool)
      assert {:error, :deadlock} = Pool.acquire(pool)
      :ok = Pool.update(pool, max_waiting: 0)
      assert {:error, :queue_full} = tell(actor(), fn -> Pool.acquire(pool) end)
      assert {:error, :full} = tell(actor(), fn -> Penstock.run(pool, fn -> 1 end, timeout: 0) end)
      assert results(pool) == []
    end

    test "without a name tells nil" do
      pool = Pool.new(limit: 1)
      assert :ok = while_full(pool, fn -> Pool.acquire(pool) end)
      assert results(nil) == [{:pool, :ok}]
    end

    test "tells the time from the park to the answer, in native units, in the waiter" do
      pool = start_pool(limit: 1)
      holder = holder(pool)
      before = System.monotonic_time()
      {waiter, ref} = park(pool)
      await_parked(waiter)
      parked = System.monotonic_time()
      receive after: (20 -> :ok)
      released = System.monotonic_time()
      tell(holder, fn -> Pool.release(pool) end)
      assert answer(ref) == :ok
      after_answer = System.monotonic_time()

      assert_received {:event, @event, %{duration: duration}, %{gate: ^pool}, ^waiter}
      assert duration >= released - parked
      assert duration <= after_answer - before
    end
  end

  describe "a keyed pool" do
    setup do
      {:ok, keyed: start_gate(KeyedPool, limit: 1, max_keys: 10)}
    end

    defp while_key_full(keyed, wait) do
      holder = actor()
      :ok = tell(holder, fn -> KeyedPool.acquire(keyed, :key) end)
      ref = ask(actor(), wait)
      eventually(fn -> KeyedPool.info(keyed).waiting == 1 end)
      :ok = tell(holder, fn -> KeyedPool.release(keyed, :key) end)
      answer(ref)
    end

    test "tells each wait once, and never the key", %{keyed: keyed} do
      waits = [
        fn -> with :ok <- KeyedPool.acquire(keyed, :key), do: KeyedPool.release(keyed, :key) end,
        fn -> Penstock.run(keyed, fn -> :ok end, key: :key) end,
        fn -> Penstock.Task.async!(keyed, fn -> :ok end, key: :key) |> Task.await() end,
        fn -> Penstock.spawn(keyed, fn -> :ok end, key: :key, timeout: 10_000) end
      ]

      for wait <- waits do
        while_key_full(keyed, wait)
        assert [{@event, %{duration: _}, metadata}] = heard(keyed)
        assert metadata == %{kind: :keyed_pool, result: :ok}
        eventually(fn -> KeyedPool.info(keyed).in_use == 0 end)
      end
    end

    test "tells a timeout, and no refusal at once", %{keyed: keyed} do
      :ok = KeyedPool.acquire(keyed, :key)
      assert {:error, :timeout} = tell(actor(), fn -> KeyedPool.acquire(keyed, :key, timeout: 1) end)
      assert {:error, :timeout} = tell(actor(), fn -> Penstock.run(keyed, fn -> 1 end, key: :key, timeout: 1) end)
      assert {:error, :key_full} = tell(actor(), fn -> Penstock.run(keyed, fn -> 1 end, key: :key, timeout: 0) end)
      assert {:error, :key_full} = tell(actor(), fn -> KeyedPool.acquire(keyed, :key, permits: 2) end)
      assert results(keyed) == [{:keyed_pool, :timeout}, {:keyed_pool, :timeout}]
    end
  end

  describe "a gate" do
    setup do
      [one, two] = [start_pool(limit: 1), start_pool(limit: 1)]
      limiter = start_gate(RateLimiter, limit: 1, per: 60_000, clock: :manual)
      {:ok, one: one, two: two, limiter: limiter, gate: start_gate(Gate, limits: [one, two, limiter])}
    end

    test "tells a wait for several limits once, and its limits tell nothing", %{one: one, two: two, gate: gate} do
      holders = [holder(one), holder(two)]
      waiter = actor()
      ref = ask(waiter, fn -> Penstock.run(gate, fn -> 1 end) end)
      eventually(fn -> Pool.info(one).waiting + Pool.info(two).waiting == 1 end)
      Enum.each(holders, &kill/1)
      assert answer(ref) == {:ok, 1}
      assert results(gate) == [{:gate, :ok}]
      assert results(one) ++ results(two) == []
    end

    test "tells the reason of a limit that refused after the wait", %{one: one, gate: gate, limiter: limiter} do
      holder = holder(one)
      ref = ask(actor(), fn -> Gate.acquire(gate) end)
      await_waiting(one, 1)
      {:allow, 0} = RateLimiter.hit(limiter)
      kill(holder)
      assert {:error, {:rate_limited, _ms}} = answer(ref)
      assert results(gate) == [{:gate, :rate_limited}]
    end

    test "tells a timeout, and nothing of a caller that has not waited", %{one: one, two: two, gate: gate} do
      holder(two)
      assert {:error, :timeout} = Gate.acquire(gate, timeout: 1)
      assert results(gate) == [{:gate, :timeout}]
      assert {:error, :full} = Gate.try_acquire(gate)
      :ok = Pool.update(two, max_waiting: 0)
      assert {:error, :queue_full} = Gate.acquire(gate)
      assert results(gate) == []
      assert counts(one) == {0, 0, 0}
    end
  end

  describe "a rate limiter" do
    # The clock stands still, so each turn is later than the one before.
    test "tells a turn that was waited for, and nothing else" do
      limiter = start_gate(RateLimiter, limit: 1, per: 20, clock: :manual)
      assert RateLimiter.acquire(limiter) == :ok
      assert {:error, {:rate_limited, 20}} = RateLimiter.acquire(limiter, :global, timeout: 19)
      assert results(limiter) == []
      before = System.monotonic_time()
      assert RateLimiter.acquire(limiter) == :ok
      after_turn = System.monotonic_time()
      assert [{@event, %{duration: duration}, %{kind: :rate_limiter, result: :ok}}] = heard(limiter)
      assert duration <= after_turn - before
      assert System.convert_time_unit(duration, :native, :millisecond) >= 20
    end

    test "with turns that are less than a ms apart tells them too" do
      limiter = start_gate(RateLimiter, limit: 2_000, per: 1_000, burst: 1, clock: :manual)
      for _ <- 1..4, do: assert(RateLimiter.acquire(limiter) == :ok)
      assert results(limiter) == [{:rate_limiter, :ok}, {:rate_limiter, :ok}, {:rate_limiter, :ok}]
    end

    test "tells a wait for a place that ended with a refusal" do
      limiter = start_gate(RateLimiter, limit: 1, per: 20, max_keys: 1, clock: :manual)
      # Fills all places that a key can have.
      for key <- 1..100, do: RateLimiter.hit(limiter, key)
      assert {:deny, 20} = RateLimiter.hit(limiter, :new)
      assert {:error, {:rate_limited, 20}} = RateLimiter.acquire(limiter, :new, timeout: 30)
      assert results(limiter) == [{:rate_limiter, :rate_limited}]
    end
  end

  describe "a stream" do
    test "tells each element that waited once, although results are delivered meanwhile" do
      pool = start_pool(limit: 1)

      hold = fn n -> receive after: (1 -> n) end
      stream = Penstock.Task.async_stream(pool, 1..20, hold, max_concurrency: 4)
      assert Enum.to_list(stream) == for(n <- 1..20, do: {:ok, n})

      told = results(pool)
      assert Enum.uniq(told) == [{:pool, :ok}]
      # The first element finds the permit free. Each later one finds it taken, unless the task before it
      # has ended by then.
      assert length(told) in 1..19
    end

    test "tells a wait that the consumer has interrupted as one, without the time of the consumer" do
      pool = start_pool(limit: 2)
      test = self()
      holder = holder(pool)

      # The first result is delivered while the second element waits for a permit. The consumer then
      # takes its time, and the second element gets the permit of the first task, or waits on.
      element = fn
        1 ->
          send(test, {:one, self()})
          receive do: (:go -> 1)

        n ->
          n
      end

      started = System.monotonic_time()

      consumer =
        Task.async(fn ->
          pool
          |> Penstock.Task.async_stream([1, 2], element, max_concurrency: 2)
          |> Enum.map(fn result ->
            send(test, {:result, result, self()})
            receive do: (:next -> result)
          end)
        end)

      assert_receive {:one, task}
      await_waiting(pool, 1)
      await_parked(consumer.pid)
      parked = System.monotonic_time()
      receive after: (20 -> :ok)
      answered = System.monotonic_time()
      send(task, :go)
      assert_receive {:result, {:ok, 1}, consumer_pid}
      given = System.monotonic_time()
      receive after: (300 -> :ok)
      resumed = System.monotonic_time()
      send(consumer_pid, :next)
      assert_receive {:result, {:ok, 2}, ^consumer_pid}
      ended = System.monotonic_time()
      send(consumer_pid, :next)
      assert Task.await(consumer) == [ok: 1, ok: 2]

      assert_received {:event, @event, %{duration: duration}, %{gate: ^pool, kind: :pool, result: :ok}, ^consumer_pid}
      assert duration >= answered - parked
      # The consumer had control from `given` to `resumed`.
      assert duration <= given - started + (ended - resumed)
      assert results(pool) == []
      kill(holder)
    end

    test "at a keyed pool, a limiter and a gate tells the kind" do
      keyed = start_gate(KeyedPool, limit: 1, max_keys: 10)
      limiter = start_gate(RateLimiter, limit: 1, per: 5, clock: :manual)
      inner = start_pool(limit: 1)
      gate = start_gate(Gate, limits: [inner])

      for {gate, kind, opts} <- [{keyed, :keyed_pool, [key: 1]}, {limiter, :rate_limiter, []}, {gate, :gate, []}] do
        hold = fn _n -> receive after: (5 -> :ok) end
        Penstock.Task.async_stream(gate, 1..5, hold, [max_concurrency: 3] ++ opts) |> Stream.run()
        told = results(gate)
        assert {kind, Enum.uniq(told)} == {kind, [{kind, :ok}]}
        assert length(told) in 1..4
      end

      assert results(inner) == []
    end

    test "tells the refusal that ends it" do
      pool = start_pool(limit: 1)
      holder(pool)

      assert_raise Penstock.RejectedError, fn ->
        Penstock.Task.async_stream(pool, 1..5, & &1, acquire_timeout: 1) |> Stream.run()
      end

      assert results(pool) == [{:pool, :timeout}]
    end

    test "that is halted while it waits tells nothing" do
      pool = start_pool(limit: 2)
      test = self()
      holder = holder(pool)

      element = fn n ->
        send(test, {:runs, n, self()})
        receive do: (:go -> n)
      end

      stream = Penstock.Task.async_stream(pool, 1..5, element, max_concurrency: 2)
      consumer = Task.async(fn -> Enum.take(stream, 1) end)
      assert_receive {:runs, 1, task}
      await_waiting(pool, 1)
      await_parked(consumer.pid)
      # The permit of the first task is now above the limit, so the second element never gets it.
      :ok = Pool.update(pool, limit: 1)
      send(task, :go)
      assert Task.await(consumer) == [ok: 1]
      assert Pool.info(pool).waiting == 0
      assert results(pool) == []
      refute_received {:runs, 2, _task}
      kill(holder)
    end
  end

  describe "a handler" do
    test "that raises, exits or throws is detached, and the caller has its permit" do
      pool = start_pool(limit: 1)

      for fail <- [&raise_it/4, &exit_it/4, &throw_it/4] do
        hear([@event], fail)

        assert :held =
                 while_full(pool, fn ->
                   :ok = Pool.acquire(pool)
                   :ok = Pool.release(pool)
                   :held
                 end)

        assert results(pool) == [{:pool, :ok}]
        assert length(:telemetry.list_handlers(@event)) == 1
      end
    end

    test "of a library that is unloaded, or stopped, is not called" do
      pool = start_pool(limit: 1)
      wait = fn -> with :ok <- Pool.acquire(pool), do: Pool.release(pool) end
      :ok = TelemetryStandIn.unload()
      assert while_full(pool, wait) == :ok
      :ok = TelemetryStandIn.stop()
      assert while_full(pool, wait) == :ok
      assert results(pool) == []

      :ok = TelemetryStandIn.start()
      hear([@event])
      assert while_full(pool, wait) == :ok
      assert results(pool) == [{:pool, :ok}]
    end
  end

  @compile {:no_warn_undefined, :telemetry}

  def raise_it(_event, _measurements, _metadata, _test), do: raise("no")
  def exit_it(_event, _measurements, _metadata, _test), do: exit(:no)
  def throw_it(_event, _measurements, _metadata, _test), do: throw(:no)
end
