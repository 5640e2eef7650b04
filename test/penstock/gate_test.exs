defmodule Penstock.GateTest do
  # Gates of several limits.
  #
  # | scenario                                   | rules out                                   |
  # |--------------------------------------------|---------------------------------------------|
  # | each limit refuses in turn                 | a permit or a charge of the other limits    |
  # | a child, a task, a restart behind the gate | a permit that is missing at one limit       |
  # | callers that wait at two gates             | a deadlock by the order of the limits       |
  # | holders and spawners killed                | a permit that stays at one limit            |
  # | a limit closed under the gate              | a gate that stays shut when it runs again   |
  use Penstock.PoolCase, async: true

  import ExUnit.CaptureLog
  alias Penstock.{Ban, Gate, KeyedPool, RateLimiter}

  doctest Gate

  @moduletag :capture_log

  # Starts a ban, a limiter, a keyed pool, a pool, and a gate of them.
  defp limits(opts \\ []) do
    names = for kind <- [:ban, :limiter, :keyed, :pool, :gate], into: %{}, do: {kind, unique_name()}
    start_supervised!({Ban, name: names.ban})
    rate = Keyword.merge([name: names.limiter, limit: 1_000, per: 60_000, burst: 100], opts[:rate] || [])
    start_supervised!({RateLimiter, rate})
    start_supervised!({KeyedPool, name: names.keyed, limit: opts[:per_key] || 2})
    start_supervised!({Pool, name: names.pool, limit: opts[:limit] || 3})
    order = [names.pool, names.keyed, names.limiter, names.ban]
    start_supervised!({Gate, [name: names.gate, limits: order] ++ Keyword.take(opts, [:shed_at])})
    names
  end

  # Returns the permits in use, and how many hits were charged.
  defp use_of(names) do
    {KeyedPool.info(names.keyed).in_use, Pool.info(names.pool).in_use, RateLimiter.info(names.limiter).allowed}
  end

  # Kills the child, and returns when its supervisor has restarted it.
  defp restart(supervisor, child) do
    kill(child)

    eventually(fn ->
      match?([{_, pid, _, _}] when is_pid(pid) and pid != child, DynamicSupervisor.which_children(supervisor))
    end)
  end

  defp forever, do: receive(do: (:stop -> :ok))
  defp await_use(names, keyed, pool), do: eventually(fn -> match?({^keyed, ^pool, _}, use_of(names)) end)

  describe "a gate" do
    test "admits if all its limits do, and takes a permit of each" do
      names = limits()

      assert Penstock.run(names.gate, fn -> use_of(names) end, key: "bob") == {:ok, {1, 1, 1}}
      assert use_of(names) == {0, 0, 1}
      assert %{admitted: 1, rejected: rejected} = Gate.info(names.gate)
      assert rejected == %{}
    end

    test "takes and charges nothing if one refuses, and tells the first reason in its order" do
      names = limits(per_key: 1, limit: 2, rate: [limit: 1, per: 60_000, burst: 3, clock: :manual])
      hold = fn key -> Penstock.spawn(names.gate, &forever/0, key: key) end
      {:ok, _} = hold.("a")
      assert hold.("a") == {:error, :key_full}
      {:ok, _} = hold.("b")
      # The pool is full, and so is the key: the key comes first.
      assert hold.("a") == {:error, :key_full}
      assert hold.("c") == {:error, :full}
      assert use_of(names) == {2, 2, 2}
      {:allow, 0} = RateLimiter.hit(names.limiter, "c", 3)
      assert hold.("c") == {:error, {:rate_limited, 60_000}}
      :ok = Ban.ban(names.ban, "c", 60_000)
      assert {:error, {:banned, _}} = hold.("c")
      assert use_of(names) == {2, 2, 3}
      assert %{admitted: 2, rejected: %{key_full: 2, full: 1, rate_limited: 1, banned: 1}} = Gate.info(names.gate)
      assert KeyedPool.info(names.keyed).keys == 2
    end

    test "explains each limit, and consumes nothing" do
      names = limits(limit: 1)
      {:ok, _} = Penstock.spawn(names.gate, &forever/0, key: "a")

      assert Gate.explain(names.gate, key: "b") == [
               %{limit: names.ban, kind: :ban, answer: :ok},
               %{limit: names.limiter, kind: :limiter, answer: :ok},
               %{limit: names.keyed, kind: :keyed_pool, answer: :ok},
               %{limit: names.pool, kind: :pool, answer: {:error, :full}}
             ]

      assert use_of(names) == {1, 1, 1}
      assert Gate.info(names.gate).rejected == %{}
      assert Pool.info(names.pool).rejected == 0
    end

    test "takes the key of each limit from :keys before :key" do
      names = limits(per_key: 1)
      {:ok, _} = Penstock.spawn(names.gate, &forever/0, key: "ip", keys: %{names.keyed => "bob"})
      assert KeyedPool.info(names.keyed, "bob").in_use == 1
      assert Penstock.spawn(names.gate, &forever/0, key: "bob") == {:error, :key_full}
      keys = %{names.keyed => "eve", names.ban => "eve"}
      assert {:ok, _} = Penstock.spawn(names.gate, &forever/0, keys: keys)

      message =
        "the gate #{inspect(names.gate)} requires the option :key: its limit #{inspect(names.keyed)} is a keyed pool"

      assert_raise ArgumentError, message, fn -> Penstock.run(names.gate, fn -> 1 end, keys: %{names.ban => 1}) end
      message = "#{inspect(names.gate)} in :keys is no limit of the gate #{inspect(names.gate)}"

      assert_raise ArgumentError, message, fn ->
        Penstock.run(names.gate, fn -> 1 end, key: 1, keys: %{names.gate => 1})
      end

      assert_raise ArgumentError, ~r/expected :keys to be/, fn -> Penstock.run(names.gate, fn -> 1 end, keys: 17) end

      assert_raise ArgumentError, ~r/other than nil/, fn ->
        Penstock.run(names.gate, fn -> 1 end, keys: %{names.ban => nil})
      end
    end

    test "is shut while one of its limits is closed, and opens again with it" do
      pool = unique_name()
      {:ok, owner} = Pool.start_link(name: pool, limit: 1)
      gate = unique_name()
      start_supervised!({Gate, name: gate, limits: [pool]})
      assert Penstock.run(gate, fn -> 1 end) == {:ok, 1}
      GenServer.stop(owner)
      assert Penstock.run(gate, fn -> 1 end) == {:error, :closed}
      assert [%{kind: nil, answer: {:error, :closed}}] = Gate.explain(gate)
      {:ok, _} = Pool.start_link(name: pool, limit: 1)
      assert Penstock.run(gate, fn -> 1 end) == {:ok, 1}
      assert %{admitted: 2, rejected: %{closed: 1}} = Gate.info(gate)
    end

    test "refuses limits that are wrong, and names them" do
      pool = start_pool(limit: 1)
      gate = unique_name()
      start_supervised!({Gate, name: gate, limits: [pool]})

      for {limits, message} <- [
            {[], ~r/expected :limits to be a list of 1 to 16 names of limits, got: \[\]/},
            {pool, ~r/expected :limits to be a list/},
            {[pool | pool], ~r/expected :limits to be a list/},
            {List.duplicate(pool, 17), ~r/expected :limits to be a list/},
            {[pool, pool], ~r/#{inspect(pool)} comes twice in :limits/},
            {[17], ~r/expected each of :limits to be the name of a limit, got: 17/},
            {[gate], ~r/#{inspect(gate)} in :limits is a gate of several limits/},
            {[MyApp.Itself], ~r/cannot be a limit of itself/},
            {[MyApp.Missing.Limit], ~r/no gate named MyApp.Missing.Limit is running/}
          ] do
        assert_raise ArgumentError, message, fn -> Gate.start_link(name: MyApp.Itself, limits: limits) end
      end

      assert_raise ArgumentError, ~r/expected :shed_at to be/, fn ->
        Gate.start_link(name: MyApp.Itself, limits: [pool], shed_at: :low)
      end

      assert_raise ArgumentError, ~r/no Penstock.Gate named .* \(it is a pool\)/, fn -> Gate.info(pool) end
      assert_raise ArgumentError, ~r/no Penstock.Gate named .* \(it is a pool\)/, fn -> Gate.acquire(pool) end
    end
  end

  test "a gate counts a refusal of each reason once" do
    pool = start_pool(limit: 1)
    gate = unique_name()
    start_supervised!({Gate, name: gate, limits: [pool]})
    :ok = Gate.try_acquire(gate)
    assert Gate.try_acquire(gate) == {:error, :full}
    assert Gate.try_acquire(gate, key: "key") == {:error, :full}
    assert Gate.try_acquire(gate, permits: 1) == {:error, :full}
    assert Gate.info(gate).rejected == %{full: 3}
    :ok = Gate.release(gate, key: "key")
    :ok = Pool.drain(pool, 0)
    for opts <- [[], [key: "key"], [permits: 1]], do: assert(Gate.try_acquire(gate, opts) == {:error, :closed})
    assert Penstock.run(gate, fn -> :never end) == {:error, :closed}
    assert Gate.info(gate).rejected == %{full: 3, closed: 4}
  end

  describe "acquire/2, try_acquire/2 and release/2" do
    test "hold the permits of all limits for the caller" do
      names = limits(per_key: 2, limit: 2)
      assert Gate.acquire(names.gate, key: 1, permits: 2) == :ok
      assert use_of(names) == {2, 2, 1}
      assert Gate.try_acquire(names.gate, key: 2) == {:error, :full}
      assert Gate.release(names.gate, key: 2) == {:error, :not_held}
      assert Gate.release(names.gate, key: 1) == :ok
      assert use_of(names) == {1, 1, 1}
      # What a limit's own function has released, the gate cannot release again.
      :ok = KeyedPool.release(names.keyed, 1)
      assert Gate.release(names.gate, key: 1) == {:error, :not_held}
      assert Pool.release(names.pool) == :ok
    end

    test "wait for each limit, and give back all if one times out" do
      names = limits(per_key: 2, limit: 1)
      other = actor()
      :ok = tell(other, fn -> Pool.acquire(names.pool) end)
      assert Gate.acquire(names.gate, key: 1, timeout: 20) == {:error, :timeout}
      assert use_of(names) == {0, 1, 0}
      assert %{rejected: %{timeout: 1}} = Gate.info(names.gate)
      waiter = ask(actor(), fn -> Gate.acquire(names.gate, key: 1) end)
      eventually(fn -> Pool.info(names.pool).waiting == 1 end)
      # The permit of the key is held meanwhile.
      assert KeyedPool.info(names.keyed, 1).in_use == 1
      :ok = tell(other, fn -> Pool.release(names.pool) end)
      assert answer(waiter) == :ok
      assert use_of(names) == {1, 1, 1}
    end

    test "give all permits back if the limiter denies after the wait" do
      names = limits(limit: 1, rate: [limit: 1, per: 60_000, burst: 1])
      other = actor()
      :ok = tell(other, fn -> Pool.acquire(names.pool) end)
      waiter = ask(actor(), fn -> Gate.acquire(names.gate, key: 1) end)
      eventually(fn -> Pool.info(names.pool).waiting == 1 end)
      {:allow, 0} = RateLimiter.hit(names.limiter, 1)
      :ok = tell(other, fn -> Pool.release(names.pool) end)
      assert {:error, {:rate_limited, _}} = answer(waiter)
      assert use_of(names) == {0, 0, 1}
    end

    test "of two gates over the same pools never wait for each other" do
      [a, b] = for _ <- 1..2, do: start_pool(limit: 1)

      gates =
        for limits <- [[a, b], [b, a]],
            do: tap(unique_name(), &start_supervised!({Gate, name: &1, limits: limits}, id: &1))

      for n <- 1..16 do
        Task.async(fn ->
          gate = Enum.at(gates, rem(n, 2))

          for _ <- 1..200 do
            :ok = Gate.acquire(gate, timeout: :infinity)
            :ok = Gate.release(gate)
          end
        end)
      end
      |> Task.await_many(patience(60_000))

      for pool <- [a, b], do: assert(counts(pool) == {0, 0, 0} or Pool.info(pool).in_use == 0)
    end
  end

  describe "work behind a gate" do
    test "holds a permit of each limit until it is dead" do
      names = limits()
      {:ok, pid} = Penstock.spawn(names.gate, &forever/0, key: "a")
      {:ok, agent} = Penstock.start_process(names.gate, {Agent, :start_link, [fn -> 1 end]}, key: "a")
      {:ok, task} = Penstock.Task.async(names.gate, fn -> use_of(names) end, key: "b")
      assert Task.await(task) == {3, 3, 3}
      assert use_of(names) == {2, 2, 3}
      for holder <- [pid, agent], do: assert(Enum.any?(Pool.holders(names.pool), &(&1.pid == holder)))
      Agent.stop(agent)
      kill(pid)
      await_use(names, 0, 0)
    end

    test "restarts with the permits of all limits, and charges nothing" do
      names = limits(per_key: 1, limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000)
      spec = Penstock.child_spec({Agent, fn -> 1 end}, names.gate, key: "a")
      {:ok, _} = DynamicSupervisor.start_child(supervisor, spec)
      assert DynamicSupervisor.start_child(supervisor, spec) == {:error, :key_full}
      other = Penstock.child_spec({Agent, fn -> 1 end}, names.gate, key: "b")
      assert DynamicSupervisor.start_child(supervisor, other) == {:error, :full}

      child = fn ->
        with [%{pid: pid}] when pid != supervisor <- KeyedPool.holders(names.keyed, "a"),
             [%{pid: ^pid}] <- Pool.holders(names.pool),
             do: pid
      end

      for _ <- 1..50 do
        pid = eventually(fn -> is_pid(child.()) && child.() end)
        kill(pid)
        eventually(fn -> is_pid(child.()) and child.() != pid end)
      end

      await_use(names, 1, 1)
      assert {1, 1, 1} = use_of(names)
      assert %{active: 1} = DynamicSupervisor.count_children(supervisor)
    end

    test "restarts by the limits that are left, and logs a warning when none is left" do
      names = limits()
      Process.flag(:trap_exit, true)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      spec = Penstock.child_spec({Agent, fn -> 1 end}, names.gate, key: "a")
      {:ok, child} = DynamicSupervisor.start_child(supervisor, spec)

      {:error, _holders} = Pool.drain(names.pool, 0)
      log = capture_log(fn -> restart(supervisor, child) end)
      refute log =~ "the gate #{inspect(names.gate)} is"
      [{_id, child, _type, _modules}] = DynamicSupervisor.which_children(supervisor)
      assert [%{pid: ^child}] = KeyedPool.holders(names.keyed, "a")

      {:error, _holders} = KeyedPool.drain(names.keyed, 0)
      log = capture_log(fn -> restart(supervisor, child) end)
      assert log =~ "the gate #{inspect(names.gate)} is closed: #{inspect(supervisor)} starts a child unguarded"
    end

    test "of Penstock's supervisors holds a permit of each limit" do
      names = limits(per_key: 1)
      name = unique_name()
      {:ok, _} = Penstock.DynamicSupervisor.start_link(name: name, gate: names.gate, partitions: 2)
      {:ok, child} = Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}, key: 1)
      assert Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}, key: 1) == {:error, :key_full}
      assert use_of(names) == {1, 1, 1}
      assert [%{pid: ^child}] = Pool.holders(names.pool)
      :ok = Penstock.DynamicSupervisor.terminate_child(name, child)
      await_use(names, 0, 0)
    end

    test "leaves nothing behind when spawners and children are killed at any point" do
      names = limits(per_key: 50, limit: 60, rate: [limit: 1_000_000, per: 1_000, burst: 1_000_000])

      for _ <- 1..200 do
        spawner = actor()

        ask(spawner, fn -> for n <- 1..20, do: Penstock.spawn(names.gate, fn -> :erlang.yield() end, key: rem(n, 3)) end)

        for _ <- 1..:rand.uniform(50), do: :erlang.yield()
        kill(spawner)
      end

      await_use(names, 0, 0)
      assert KeyedPool.info(names.keyed).keys == 0
      assert Gate.info(names.gate).admitted == RateLimiter.info(names.limiter).allowed
    end

    test "of a stream holds a permit of each limit, and each element has its key" do
      names = limits(per_key: 1, limit: 3)
      work = fn n -> {n, KeyedPool.info(names.keyed).in_use, Pool.info(names.pool).in_use} end
      stream = Penstock.Task.async_stream(names.gate, 1..60, work, key: &rem(&1, 5), max_concurrency: 10)

      for {{:ok, {n, keyed, pool}}, at} <- Enum.with_index(stream, 1) do
        assert n == at
        # An element that waits for the pool holds the permit of its key already.
        assert keyed in 1..5 and pool in 1..3
      end

      await_use(names, 0, 0)
      assert %{admitted: 60, rejected: rejected} = Gate.info(names.gate)
      assert rejected == %{}
      assert RateLimiter.info(names.limiter).allowed == 60
      assert mailbox() == []
    end

    test "of a stream waits for each limit, and gives all back after :acquire_timeout" do
      names = limits(per_key: 1, limit: 1)
      other = actor()
      :ok = tell(other, fn -> Pool.acquire(names.pool) end)

      assert_raise Penstock.RejectedError, ~r/timeout/, fn ->
        names.gate |> Penstock.Task.async_stream([1, 2], & &1, key: & &1, acquire_timeout: 20) |> Enum.to_list()
      end

      assert use_of(names) == {0, 1, 0}

      waiting =
        ask(actor(), fn -> names.gate |> Penstock.Task.async_stream([1, 2], & &1, key: & &1) |> Enum.to_list() end)

      eventually(fn -> Pool.info(names.pool).waiting == 1 end)
      :ok = tell(other, fn -> Pool.release(names.pool) end)
      assert answer(waiting) == [ok: 1, ok: 2]
      await_use(names, 0, 0)
    end

    test "of a stream comes back when the consumer is killed, wherever it is" do
      names = limits(per_key: 2, limit: 3)

      for n <- 1..100 do
        consumer = actor()

        ask(consumer, fn ->
          names.gate
          |> Penstock.Task.async_stream(1..100, fn _ -> forever() end, key: &rem(&1, 3), max_concurrency: 9)
          |> Enum.to_list()
        end)

        if rem(n, 2) == 0, do: eventually(fn -> Pool.info(names.pool).in_use > 0 end)
        kill(consumer)
        await_use(names, 0, 0)
        assert Pool.info(names.pool).waiting == 0
      end
    end

    test "of a stream ends if it is late" do
      names = limits()

      stream =
        Penstock.Task.async_stream(names.gate, [1, 2], fn _ -> forever() end,
          key: & &1,
          timeout: 20,
          on_timeout: :kill_task
        )

      assert Enum.to_list(stream) == [exit: :timeout, exit: :timeout]
      await_use(names, 0, 0)
    end
  end
end
