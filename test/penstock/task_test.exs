defmodule Penstock.TaskTest do
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2, eventually: 1]
  doctest Penstock.Task

  alias Penstock.{Pool, RejectedError}

  defp never, do: receive(do: (:never -> :ok))

  for {name, function} <- [start: :start, start_link: :start_link] do
    describe "#{name}" do
      @function function

      test "runs a fun in a process that holds the permits until it ends" do
        pool = Pool.new(limit: 3)
        me = self()

        {:ok, pid} =
          apply(Penstock.Task, @function, [
            pool,
            fn ->
              send(me, {:runs, self()})
              never()
            end,
            [permits: 2]
          ])

        assert_receive {:runs, ^pid}
        assert %{in_use: 2, holders: 1} = Pool.info(pool)
        Process.unlink(pid)
        Process.exit(pid, :kill)
        assert all_back(pool, 3) == {0, 0, 0}
      end

      test "runs module, function and arguments" do
        pool = Pool.new(limit: 1)
        {:ok, _pid} = apply(Penstock.Task, @function, [pool, Kernel, :send, [self(), :hello]])
        assert_receive :hello
        assert all_back(pool, 1) == {0, 0, 0}
      end

      test "is refused at once by a full pool" do
        pool = Pool.new(limit: 1)
        :ok = Pool.acquire(pool)
        assert apply(Penstock.Task, @function, [pool, &never/0]) == {:error, :full}
        assert apply(Penstock.Task, @function, [pool, __MODULE__, :never, []]) == {:error, :full}
      end

      test "waits for a permit with a :timeout" do
        pool = Pool.new(limit: 1)
        :ok = Pool.acquire(pool)
        assert apply(Penstock.Task, @function, [pool, &never/0, [timeout: 1]]) == {:error, :deadlock}
        me = self()

        waiter =
          spawn_link(fn ->
            send(me, {:got, apply(Penstock.Task, @function, [pool, fn -> send(me, :runs) end, [timeout: :infinity]])})
            never()
          end)

        eventually(fn -> Pool.info(pool).waiting == 1 end)
        :ok = Pool.release(pool)
        assert_receive {:got, {:ok, pid}} when is_pid(pid)
        assert_receive :runs
        Process.unlink(waiter)
        Process.exit(waiter, :kill)
      end
    end
  end

  test "start_link links, start does not" do
    pool = Pool.new(limit: 2)
    {:ok, alone} = Penstock.Task.start(pool, &never/0)
    {:ok, linked} = Penstock.Task.start_link(pool, &never/0)
    {:links, links} = Process.info(self(), :links)
    assert linked in links and alone not in links
    Process.unlink(linked)
    for pid <- [alone, linked], do: Process.exit(pid, :kill)
  end

  describe "async" do
    test "returns a task of which the caller is the owner, with the user's function as :mfa" do
      pool = Pool.new(limit: 1)
      fun = fn -> :value end
      theirs = Task.async(fun)
      {:ok, ours} = Penstock.Task.async(pool, fun)
      assert ours.mfa == theirs.mfa
      assert ours.owner == self()
      assert Task.await_many([theirs, ours]) == [:value, :value]

      {:ok, task} = Penstock.Task.async(pool, Enum, :sum, [[1, 2]])
      assert task.mfa == {Enum, :sum, 1}
      assert Task.await(task) == 3
    end

    test "returns a task for each function that awaits tasks" do
      pool = Pool.new(limit: 10)
      start = fn fun -> Penstock.Task.async!(pool, fun) end
      assert Task.yield(start.(fn -> 1 end)) == {:ok, 1}
      assert [{_, {:ok, 1}}, {_, {:ok, 2}}] = Task.yield_many([start.(fn -> 1 end), start.(fn -> 2 end)])
      assert Task.await_many([start.(fn -> 1 end), start.(fn -> 2 end)]) == [1, 2]
      assert Task.shutdown(start.(&never/0), :brutal_kill) == nil
      assert Task.shutdown(start.(&never/0)) == nil
      slow = start.(&never/0)
      assert Task.yield(slow, 0) == nil
      assert Task.ignore(slow) == nil
      Process.unlink(slow.pid)
      Process.exit(slow.pid, :kill)
      assert all_back(pool, 10) == {0, 0, 0}
      refute_received _
    end

    test "a task that fails ends its caller, as a task of Elixir does" do
      pool = Pool.new(limit: 1)

      for {fun, expected} <- [
            {fn -> exit(:oops) end, :oops},
            {fn -> exit(:kill) end, :kill},
            {fn -> exit(:shutdown) end, :shutdown},
            {fn -> exit({:shutdown, 1}) end, {:shutdown, 1}},
            {fn -> raise "oops" end, {%RuntimeError{message: "oops"}, :stack}},
            {fn -> throw(:oops) end, {{:nocatch, :oops}, :stack}}
          ] do
        ExUnit.CaptureLog.capture_log(fn ->
          for start <- [&Task.async/1, &Penstock.Task.async!(pool, &1)] do
            {pid, ref} =
              spawn_monitor(fn ->
                start.(fun)
                never()
              end)

            assert_receive {:DOWN, ^ref, :process, ^pid, reason}
            assert plain(reason) == expected
          end
        end)
      end

      assert all_back(pool, 1) == {0, 0, 0}
    end

    test "makes a task whose exit with :normal ends Task.await/1" do
      pool = Pool.new(limit: 1)
      task = Penstock.Task.async!(pool, fn -> exit(:normal) end)
      assert {:normal, {Task, :await, _}} = catch_exit(Task.await(task))
      assert all_back(pool, 1) == {0, 0, 0}
    end

    test "$callers, $ancestors and $initial_call are those of a task of Elixir" do
      pool = Pool.new(limit: 1)
      Process.put(:"$callers", [:grandparent])
      keys = [:"$callers", :"$ancestors", :"$initial_call"]
      fun = fn -> Enum.map(keys, &Process.get/1) end
      assert Task.await(Penstock.Task.async!(pool, fun)) == Task.await(Task.async(fun))
      args = [keys, &Process.get/1]
      assert Task.await(Penstock.Task.async!(pool, Enum, :map, args)) == Task.await(Task.async(Enum, :map, args))
    end

    test "the permit is back before the caller gets the reply" do
      pool = Pool.new(limit: 30)
      :ok = Pool.acquire(pool, permits: 29)

      for n <- 1..3_000 do
        assert Task.await(Penstock.Task.async!(pool, fn -> n end, timeout: 0)) == n
        assert Pool.try_acquire(pool) == :ok
        :ok = Pool.release(pool)
      end
    end

    test "the permit is back before the caller gets the exit of a failed task" do
      pool = Pool.new(limit: 30)
      :ok = Pool.acquire(pool, permits: 29)
      Process.flag(:trap_exit, true)

      for _ <- 1..300 do
        {:ok, %{pid: pid}} = Penstock.Task.async(pool, fn -> exit(:shutdown) end, timeout: 0)
        assert_receive {:EXIT, ^pid, :shutdown}
        assert Pool.try_acquire(pool) == :ok
        :ok = Pool.release(pool)
      end
    end

    test "waits by default, and not with timeout: 0" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      assert Penstock.Task.async(pool, &never/0, timeout: 0) == {:error, :full}
      assert Penstock.Task.async(pool, &never/0, timeout: 1) == {:error, :deadlock}
      assert Penstock.Task.async(pool, &never/0, permits: 2) == {:error, :full}
      me = self()
      {:ok, task} = Task.start_link(fn -> send(me, {:got, Penstock.Task.async(pool, fn -> 1 end)}) end)
      eventually(fn -> Pool.info(pool).waiting == 1 end)
      :ok = Pool.release(pool)
      assert_receive {:got, {:ok, %Task{owner: ^task}}}
    end

    test "async! raises the gate and the reason of a refusal" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      error = assert_raise RejectedError, fn -> Penstock.Task.async!(pool, &never/0, timeout: 0) end
      assert %{gate: ^pool, reason: :full, plug_status: 503} = error
      error = assert_raise RejectedError, fn -> Penstock.Task.async!(pool, Enum, :sum, [[]], timeout: 1) end
      assert error.reason == :deadlock
    end

    test "a caller that is killed at any instant leaves no task and no permit" do
      pool = Pool.new(limit: 5)

      for n <- 1..1_000 do
        {caller, monitor} =
          spawn_monitor(fn ->
            Penstock.Task.async!(pool, &never/0)
            never()
          end)

        for _ <- 1..rem(n, 40)//1, do: :erlang.yield()
        Process.exit(caller, :kill)
        assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
      end

      assert all_back(pool, 5) == {0, 0, 0}
    end
  end

  describe "bad input" do
    test "raises an ArgumentError that names the argument, and takes no permit" do
      pool = Pool.new(limit: 1)

      for {message, call} <- [
            {"expected fun to be a function of arity 0, got: :no", fn f -> f.([pool, :no]) end},
            {"expected fun to be a function of arity 0, got: #Function", fn f -> f.([pool, fn _ -> :ok end]) end},
            {"expected module to be an atom, got: \"m\"", fn f -> f.([pool, "m", :f, []]) end},
            {"expected function to be an atom, got: 1", fn f -> f.([pool, Enum, 1, []]) end},
            {"expected args to be a list, got: :none", fn f -> f.([pool, Enum, :sum, :none]) end},
            {"expected args to be a list, got: [1 | 2]", fn f -> f.([pool, Enum, :sum, [1 | 2]]) end},
            {"expected :timeout to be", fn f -> f.([pool, &never/0, [timeout: -1]]) end},
            {"expected :permits to be", fn f -> f.([pool, &never/0, [permits: 0]]) end},
            {"expected :max_runtime to be", fn f -> f.([pool, &never/0, [max_runtime: 0]]) end},
            {"unknown option :limit. Known: :timeout, :permits, :key, :keys, :cost, :max_runtime",
             fn f -> f.([pool, &never/0, [limit: 1]]) end},
            {"expected options to be a keyword list, got: 5", fn f -> f.([pool, &never/0, 5]) end},
            {"no gate named MyApp.NoPool is running", fn f -> f.([MyApp.NoPool, &never/0]) end},
            {"expected gate to be the name of a gate", fn f -> f.(["jobs", &never/0]) end}
          ],
          function <- [:start, :start_link, :async, :async!] do
        error = assert_raise ArgumentError, fn -> call.(&apply(Penstock.Task, function, &1)) end
        assert error.message =~ message
      end

      assert %{in_use: 0, acquired: 0} = Pool.info(pool)
    end
  end

  defp plain({%_{} = error, stack}) when is_list(stack), do: {error, :stack}
  defp plain({{:nocatch, _} = reason, stack}) when is_list(stack), do: {reason, :stack}
  defp plain(reason), do: reason
end
