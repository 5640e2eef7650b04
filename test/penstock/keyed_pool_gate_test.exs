defmodule Penstock.KeyedPoolGateTest do
  # A keyed pool as a gate: each function that takes a gate bounds the work of each key, and gives
  # the permits back however the work ends.
  #
  # | scenario                                  | rules out                                 |
  # |-------------------------------------------|-------------------------------------------|
  # | run, and a function that raises           | permits that outlive the call             |
  # | a process that is spawned, killed, or not | a permit without a process, or a process without one |
  # | a spawner killed during the spawn         | an offer that no process takes            |
  # | a child that is restarted                 | a restart that takes a second permit      |
  # | a stream with a key for each element      | an element that waits for another key     |
  use Penstock.PoolCase, async: true

  alias Penstock.KeyedPool

  @moduletag :capture_log

  defp start(opts), do: start_gate(KeyedPool, opts)

  defp in_use(pool, key), do: KeyedPool.info(pool, key).in_use
  defp await_in_use(pool, n), do: eventually(fn -> KeyedPool.info(pool).in_use == n end)
  defp forever, do: receive(do: (:stop -> :ok))

  describe "run/3" do
    test "holds a permit of the key while the function runs" do
      pool = start(limit: 1)

      assert Penstock.run(
               pool,
               fn ->
                 assert in_use(pool, :a) == 1
                 assert Penstock.run(pool, fn -> :never end, key: :a, timeout: 0) == {:error, :key_full}
                 assert Penstock.run(pool, fn -> :other end, key: :b) == {:ok, :other}
                 assert KeyedPool.release(pool, :a) == {:error, :not_held}
                 :done
               end,
               key: :a
             ) == {:ok, :done}

      assert_raise RuntimeError, fn -> Penstock.run(pool, fn -> raise "oops" end, key: :a) end
      assert catch_throw(Penstock.run(pool, fn -> throw(:ball) end, key: :a)) == :ball
      assert %{in_use: 0, keys: 0} = KeyedPool.info(pool)
    end

    test "waits for its timeout, and raises by run!/3" do
      pool = start(limit: 1)
      holder = actor()
      :ok = tell(holder, fn -> KeyedPool.acquire(pool, :a) end)
      assert Penstock.run(pool, fn -> :never end, key: :a, timeout: 10) == {:error, :timeout}
      assert_raise Penstock.RejectedError, fn -> Penstock.run!(pool, fn -> :never end, key: :a, timeout: 0) end
      waiter = ask(actor(), fn -> Penstock.run(pool, fn -> :done end, key: :a) end)
      eventually(fn -> KeyedPool.info(pool).waiting == 1 end)
      :ok = tell(holder, fn -> KeyedPool.release(pool, :a) end)
      assert answer(waiter) == {:ok, :done}
      assert in_use(pool, :a) == 0
    end

    test "requires a key" do
      pool = start(limit: 1)
      message = "the gate #{inspect(pool)} is a keyed pool and requires the option :key"
      assert_raise ArgumentError, message, fn -> Penstock.run(pool, fn -> :never end) end
      assert_raise ArgumentError, message, fn -> Penstock.spawn(pool, fn -> :never end) end
      assert_raise ArgumentError, message, fn -> Penstock.Task.async(pool, fn -> :never end) end
      assert_raise ArgumentError, message, fn -> Penstock.child_spec({Agent, fn -> 1 end}, pool) end
      assert_raise ArgumentError, message, fn -> Enum.to_list(Penstock.Task.async_stream(pool, [1], & &1)) end

      assert_raise ArgumentError, ~r/expected :key to be a term other than nil/, fn ->
        Penstock.run(pool, fn -> 1 end, key: nil)
      end
    end
  end

  describe "spawn/3" do
    test "gives the child a permit of the key until it is dead" do
      pool = start(limit: 2)
      {:ok, first} = Penstock.spawn(pool, &forever/0, key: :a)
      {:ok, {second, ref}} = Penstock.spawn_monitor(pool, &forever/0, key: :a)
      assert Penstock.spawn(pool, &forever/0, key: :a) == {:error, :key_full}

      assert Enum.sort(for(%{pid: pid, permits: 1} <- KeyedPool.holders(pool, :a), do: pid)) ==
               Enum.sort([first, second])

      send(second, :stop)
      assert_receive {:DOWN, ^ref, :process, ^second, :normal}
      assert {:ok, third} = Penstock.spawn(pool, &forever/0, key: :a)
      for pid <- [first, third], do: kill(pid)
      await_in_use(pool, 0)
      assert KeyedPool.info(pool).keys == 0
    end

    test "takes several permits, and a :max_runtime" do
      pool = start(limit: 3)
      {:ok, {pid, ref}} = Penstock.spawn_monitor(pool, &forever/0, key: :a, permits: 3, max_runtime: 20)
      assert in_use(pool, :a) == 3
      assert_receive {:DOWN, ^ref, :process, ^pid, :killed}
      await_in_use(pool, 0)
    end

    test "leaves nothing behind when spawners are killed at any point" do
      pool = start(limit: 100)

      for _ <- 1..300 do
        spawner = actor()
        ask(spawner, fn -> for n <- 1..20, do: Penstock.spawn(pool, fn -> :ok end, key: rem(n, 3)) end)
        for _ <- 1..:rand.uniform(50), do: :erlang.yield()
        kill(spawner)
      end

      await_in_use(pool, 0)
      assert %{keys: 0, waiting: 0} = KeyedPool.info(pool)
    end

    test "releases the permits if the VM refuses the options" do
      pool = start(limit: 1)
      assert_raise ArgumentError, fn -> Penstock.spawn(pool, &forever/0, key: :a, spawn_opt: [priority: :highest]) end
      assert in_use(pool, :a) == 0
    end
  end

  describe "start_process/3 and child_spec/3" do
    test "give the started process the permit of the key" do
      pool = start(limit: 1)
      {:ok, agent} = Penstock.start_process(pool, {Agent, :start_link, [fn -> 1 end]}, key: :a)
      assert [%{pid: ^agent, permits: 1}] = KeyedPool.holders(pool, :a)
      assert Penstock.start_process(pool, fn -> {:error, :oops} end, key: :b) == {:error, :oops}
      assert Penstock.start_process(pool, fn -> :never end, key: :a) == {:error, :key_full}
      Agent.stop(agent)
      await_in_use(pool, 0)
    end

    test "restart a child by the permit of the dead one" do
      pool = start(limit: 1, max_overdraft: 0)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000)
      spec = Penstock.child_spec({Agent, fn -> 1 end}, pool, key: :a)
      {:ok, first} = DynamicSupervisor.start_child(supervisor, spec)
      assert DynamicSupervisor.start_child(supervisor, spec) == {:error, :key_full}
      other = Penstock.child_spec({Agent, fn -> 1 end}, pool, key: :b)
      {:ok, _} = DynamicSupervisor.start_child(supervisor, other)

      # During a restart the supervisor itself holds the permit.
      child = fn -> with [%{pid: pid}] when pid != supervisor <- KeyedPool.holders(pool, :a), do: pid end

      for _ <- 1..50 do
        pid = eventually(fn -> is_pid(child.()) && child.() end)
        kill(pid)
        eventually(fn -> child.() not in [pid, []] and is_pid(child.()) end)
        assert in_use(pool, :a) == 1
      end

      assert %{active: 2} = DynamicSupervisor.count_children(supervisor)
      refute Process.alive?(first)
      DynamicSupervisor.stop(supervisor)
      await_in_use(pool, 0)
    end
  end

  describe "Penstock's supervisors" do
    test "bound the children of each key, and restart them" do
      pool = start(limit: 1, max_overdraft: 0)
      name = unique_name()
      {:ok, _} = Penstock.DynamicSupervisor.start_link(name: name, gate: pool, partitions: 2, max_restarts: 1_000)
      {:ok, child} = Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}, key: :a)
      assert Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}, key: :a) == {:error, :key_full}
      {:ok, _} = Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}, key: :b)
      assert [%{pid: ^child}] = KeyedPool.holders(pool, :a)
      kill(child)
      eventually(fn -> match?([%{pid: next}] when next != child, KeyedPool.holders(pool, :a)) end)
      assert KeyedPool.info(pool).in_use == 2
    end

    test "bound the tasks of each key" do
      pool = start(limit: 1)
      name = unique_name()
      {:ok, _} = Penstock.Task.Supervisor.start_link(name: name, gate: pool)
      {:ok, task} = Penstock.Task.Supervisor.async(name, &forever/0, key: :a)
      assert Penstock.Task.Supervisor.async(name, &forever/0, key: :a, timeout: 0) == {:error, :key_full}
      {:ok, other} = Penstock.Task.Supervisor.async_nolink(name, fn -> :done end, key: :b)
      assert Task.await(other) == :done
      send(task.pid, :stop)
      assert Task.await(task) == :ok
      # A caller that has awaited a task finds its permit free.
      assert KeyedPool.try_acquire(pool, :a) == :ok
    end
  end

  describe "tasks" do
    test "release their permit before their answer is seen" do
      pool = start(limit: 1)

      for n <- 1..200 do
        {:ok, task} = Penstock.Task.async(pool, fn -> n end, key: :a, timeout: 0)
        assert Task.await(task) == n
      end

      assert in_use(pool, :a) == 0
    end

    test "of a stream take a permit of the key of their element" do
      pool = start(limit: 1)
      me = self()

      work = fn n ->
        send(me, {:running, n, KeyedPool.info(pool).in_use})
        n * 2
      end

      results =
        pool |> Penstock.Task.async_stream(1..100, work, key: &rem(&1, 3), max_concurrency: 10) |> Enum.to_list()

      assert results == for(n <- 1..100, do: {:ok, n * 2})
      for n <- 1..100, do: assert_receive({:running, ^n, in_use} when in_use in 1..3)
      await_in_use(pool, 0)
      assert mailbox() == []
    end

    test "of a stream wait for their key, and give up after :acquire_timeout" do
      pool = start(limit: 1)
      holder = actor()
      :ok = tell(holder, fn -> KeyedPool.acquire(pool, 1) end)

      assert_raise Penstock.RejectedError, ~r/timeout/, fn ->
        pool |> Penstock.Task.async_stream([0, 1], & &1, key: & &1, acquire_timeout: 20) |> Enum.to_list()
      end

      waiting = ask(actor(), fn -> pool |> Penstock.Task.async_stream([0, 1], & &1, key: & &1) |> Enum.to_list() end)
      eventually(fn -> KeyedPool.info(pool).waiting == 1 end)
      :ok = tell(holder, fn -> KeyedPool.release(pool, 1) end)
      assert answer(waiting) == [ok: 0, ok: 1]
      await_in_use(pool, 0)
    end

    test "of a stream come back when the consumer is killed" do
      pool = start(limit: 2)

      for _ <- 1..50 do
        consumer = actor()

        ask(consumer, fn ->
          pool |> Penstock.Task.async_stream(1..100, fn _ -> forever() end, key: &rem(&1, 3)) |> Enum.to_list()
        end)

        eventually(fn -> KeyedPool.info(pool).in_use > 0 end)
        kill(consumer)
        await_in_use(pool, 0)
      end
    end

    test "of a stream that are late end, and their permits come back" do
      pool = start(limit: 1)

      stream =
        Penstock.Task.async_stream(pool, [1, 2], fn _ -> forever() end, key: & &1, timeout: 20, on_timeout: :kill_task)

      assert Enum.to_list(stream) == [exit: :timeout, exit: :timeout]
      await_in_use(pool, 0)
    end
  end
end
