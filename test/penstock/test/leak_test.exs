defmodule Penstock.Test.LeakTest do
  # Tests what refute_leak/2 counts as left behind. `PlantedBugsTest` has the common leaks.
  use ExUnit.Case, async: true

  import Penstock.Test
  alias MyApp.PlantedBugs
  alias Penstock.{KeyedPool, Pool}

  defp failure(fun), do: assert_raise(ExUnit.AssertionError, fun).message

  test "returns the value, and passes on what the function raises" do
    assert refute_leak(fn -> self() end) == self()
    assert_raise RuntimeError, "burst", fn -> refute_leak(fn -> raise "burst" end) end
  end

  test "awaits what is on its way to its end" do
    for _ <- 1..50 do
      refute_leak(fn -> Task.await(Task.async(fn -> :done end)) end)
      refute_leak(fn -> spawn(fn -> for(n <- 1..10_000, do: n) end) end)
      refute_leak(fn -> Process.exit(spawn(&PlantedBugs.block/0), :kill) end)
    end
  end

  test "awaits all processes within the given time, and those that they create" do
    refute_leak(fn -> spawn(fn -> PlantedBugs.work(:done, 150) && spawn(fn -> PlantedBugs.work(:done, 50) end) end) end,
      within: 10_000
    )
  end

  test "a process that stays longer than the given time" do
    message = failure(fn -> refute_leak(fn -> spawn(&PlantedBugs.block/0) end, within: 1) end)
    assert message =~ "to be gone within 1 ms, but there are left:"
    assert message =~ "which runs MyApp.PlantedBugs.block/0"
  end

  # One process at a time lives, and none of them ever waits.
  test "a process that creates the next one and ends" do
    stop = :atomics.new(1, [])
    on_exit(fn -> :atomics.put(stop, 1, 1) end)
    message = failure(fn -> refute_leak(fn -> relay(stop) end) end)
    assert message =~ "1 process, created:"
    assert message =~ "relay/1"
  end

  defp relay(stop) do
    work = Enum.reduce(1..100_000, 0, &(&1 + &2))
    if work > 0 and :atomics.get(stop, 1) == 0, do: spawn(fn -> relay(stop) end)
  end

  test "a child of a supervisor" do
    supervisor = start_supervised!(Task.Supervisor)
    message = failure(fn -> refute_leak(fn -> Task.Supervisor.start_child(supervisor, &PlantedBugs.block/0) end) end)
    assert message =~ "1 process, created:"

    refute_leak(fn ->
      {:ok, child} = Task.Supervisor.start_child(supervisor, &PlantedBugs.block/0)
      :ok = Task.Supervisor.terminate_child(supervisor, child)
    end)
  end

  test "a name of the calling process" do
    name = :"leaked_name_#{System.unique_integer([:positive])}"
    assert failure(fn -> refute_leak(fn -> Process.register(self(), name) end) end) =~ "the name #{inspect(name)} of"
    Process.unregister(name)
    refute_leak(fn -> Process.register(self(), name) && Process.unregister(name) end)
  end

  test "a named table, and tables that end with their processes" do
    name = :"leaked_table_#{System.unique_integer([:positive])}"
    message = failure(fn -> refute_leak(fn -> :ets.new(name, [:named_table]) end) end)
    assert message =~ "the ETS table #{inspect(name)}"
    refute_leak(fn -> Task.await(Task.async(fn -> :ets.new(:owned, []) && :ok end)) end)
  end

  test "timers of :timer, and timers of dead processes for others" do
    test = self()

    for set <- [&:timer.send_interval/3, &:timer.send_after/3] do
      refute_leak(fn -> :timer.cancel(elem(set.(60_000, test, :tick), 1)) end)
    end

    message = failure(fn -> refute_leak(fn -> :timer.apply_after(60_000, Kernel, :self, []) end) end)
    assert message =~ "a timer that expires in "
    other = spawn_link(&PlantedBugs.block/0)

    for set <- [&:timer.kill_after(60_000, &1), &:timer.exit_after(60_000, &1, :late)] do
      assert failure(fn -> refute_leak(fn -> set.(other) end) end) =~ "a timer that expires in "
      refute_leak(fn -> :timer.cancel(elem(set.(other), 1)) end)
    end

    message = failure(fn -> refute_leak(fn -> :timer.send_interval(60_000, test, :tick) end) end)
    assert message =~ "an interval of :timer, set by #{inspect(test)}, made by "

    message = failure(fn -> refute_leak(fn -> Task.await(Task.async(fn -> timer_for(test) end)) end) end)
    assert message =~ "a timer that expires in "
    refute_leak(fn -> Process.send_after(test, :soon, 1) && assert_receive(:soon) end)
  end

  # Most of these functions came with OTP 26 and 27.
  test "all functions of :timer that repeat or delay a call" do
    for {name, what} <-
          [apply_interval: "an interval of :timer", apply_repeatedly: "an interval of :timer"] ++
            [apply_after: "a timer that expires in "],
        args <- [[60_000, &self/0], [60_000, &PlantedBugs.work/1, [:done]], [60_000, Kernel, :self, []]],
        function_exported?(:timer, name, length(args)) do
      assert failure(fn -> refute_leak(fn -> apply(:timer, name, args) end) end) =~ what
      refute_leak(fn -> :timer |> apply(name, args) |> elem(1) |> :timer.cancel() end)
    end
  end

  defp timer_for(pid) do
    Process.send_after(pid, :late, 60_000)
    :ok
  end

  test "permits of a key, and none that were held before" do
    pool = start_gate!(:pool, limit: 3)
    keyed = start_gate!(:keyed_pool, limit: 3)
    :ok = Pool.acquire(pool)
    :ok = KeyedPool.acquire(keyed, "ann")
    refute_leak(fn -> Pool.acquire(pool) && Pool.release(pool) end)

    message = failure(fn -> refute_leak(fn -> KeyedPool.acquire(keyed, "ann", permits: 2) end) end)
    assert message =~ "2 permits of #{inspect(keyed)} for the key \"ann\", held by the test's process"
    refute message =~ inspect(pool)
  end

  # The lists for people leave out the newest of more than 1,000 holders.
  test "permits behind those of many others" do
    test = self()
    pool = start_gate!(:pool, limit: 2_000)
    keyed = start_gate!(:keyed_pool, limit: 2_000)

    for _ <- 1..1_001 do
      spawn_link(fn ->
        :ok = Pool.acquire(pool)
        :ok = KeyedPool.acquire(keyed, "ann")
        PlantedBugs.tell_and_block(test, :holds)
      end)
    end

    for _ <- 1..1_001, do: assert_receive(:holds)
    message = failure(fn -> refute_leak(fn -> Pool.acquire(pool) && KeyedPool.acquire(keyed, "ann") end) end)
    assert message =~ "1 permit of #{inspect(pool)}, held by the test's process"
    assert message =~ "1 permit of #{inspect(keyed)} for the key \"ann\", held by the test's process"
  end

  test "many at once" do
    1..10
    |> Enum.map(fn _ ->
      Task.async(fn -> for _ <- 1..5, do: refute_leak(fn -> PlantedBugs.LeakedTable.twin([1]) end) end)
    end)
    |> Task.await_many(Penstock.PoolCase.patience(60_000))
  end

  test "bad arguments" do
    for {args, message} <- [
          {[1], "expected fun to be a function of arity 0, got: 1"},
          {[fn -> :ok end, [within: -1]],
           "expected :within to be a number of milliseconds between 0 and 600000, got: -1"},
          {[fn -> :ok end, [in: 1]], ~r/unknown option :in/}
        ] do
      assert_raise ArgumentError, message, fn -> apply(Penstock.Test, :refute_leak, args) end
    end
  end
end
