defmodule Penstock.Process.MaxRuntimeTest do
  # Deadlines of processes: the kill, an end at the same instant, busy schedulers, many at once.
  #
  # | scenario                                 | rules out                                       |
  # |------------------------------------------|-------------------------------------------------|
  # | a process, its links, an awaited task    | a kill that links, callers or pool do not see   |
  # | deadlines, idle and busy schedulers      | a kill that is early, or over 100 ms late       |
  # | 150,000 deadlines at once, one scheduler | a reaper that lets no other process run         |
  # | an end, or a failure, at the deadline    | a kill that is not counted; a count too many    |
  # | a pool that is closed or dropped         | a deadline that ends with the pool              |
  use Penstock.PoolCase, async: true

  alias Penstock.{ChildJobs, ChildVM, Native, Stalls}

  # The reaper kills a process at most this number of ms after its deadline, as the documentation
  # of `Penstock.spawn/3` says.
  @grace 100

  # Loads all modules, as a release does. Otherwise the VM would load a module at its first call.
  # On a busy VM that takes longer than the lateness that the tests measure.
  setup_all do
    :penstock |> Application.spec(:modules) |> Enum.each(&Code.ensure_loaded!/1)
  end

  defp never, do: receive(do: (:never -> :ok))
  defp now, do: System.monotonic_time(:millisecond)

  # Starts one process for each of `runtimes`, one after another. Returns two results:
  #
  # 1. for each process, by how many ms it outlived its runtime: at most, and at least;
  # 2. by how many ms the machine may have delayed each kill.
  #
  # The runtime of a process begins between two measured instants: just before its creation, and
  # at its first act. The process, the reaper that kills it, and the test that sees its death each
  # wait for a scheduler. So the machine adds up to three times the longest stall of a scheduler.
  defp lateness(runtimes, fun) do
    pool = Pool.new(limit: length(runtimes))

    {ages, stall} =
      Stalls.during(fn ->
        Process.flag(:priority, :high)
        me = self()

        started =
          for max_runtime <- runtimes, into: %{} do
            before = now()

            {:ok, {pid, monitor}} =
              Penstock.spawn_monitor(
                pool,
                fn ->
                  send(me, {:began, self(), now()})
                  fun.()
                end,
                max_runtime: max_runtime
              )

            {monitor, {pid, before, max_runtime}}
          end

        ages =
          for _ <- runtimes do
            assert_receive {:DOWN, monitor, :process, pid, :killed}
            ended = now()
            {^pid, before, max_runtime} = Map.fetch!(started, monitor)
            # If a process was killed before its first act, the test cannot tell how late the kill
            # was. Then `ended` stands for the first act.
            began = receive(do: ({:began, ^pid, began} -> began), after: (0 -> ended))
            {ended - before - max_runtime, ended - began - max_runtime}
          end

        Process.flag(:priority, :normal)
        ages
      end)

    eventually(fn -> Pool.info(pool).in_use == 0 end)
    assert Pool.info(pool).killed == length(runtimes)
    {ages, 3 * stall}
  end

  test "a process that runs longer is killed, which its monitor sees and the pool counts" do
    pool = Pool.new(limit: 1)
    started = now()
    {:ok, {pid, monitor}} = Penstock.spawn_monitor(pool, &never/0, max_runtime: 60)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert now() - started >= 60
    :ok = Pool.acquire(pool)
    assert %{killed: 1, in_use: 1, released_by_exit: 1} = Pool.info(pool)
  end

  test "a linked process sees the kill, also of a process that traps exits" do
    pool = Pool.new(limit: 2)
    Process.flag(:trap_exit, true)

    stubborn = fn ->
      Process.flag(:trap_exit, true)
      never()
    end

    for fun <- [&never/0, stubborn] do
      {:ok, pid} = Penstock.spawn_link(pool, fun, max_runtime: 1)
      assert_receive {:EXIT, ^pid, :killed}
    end

    {:ok, pid} = Penstock.Task.start_link(pool, &never/0, max_runtime: 1)
    assert_receive {:EXIT, ^pid, :killed}
    assert Pool.info(pool).killed == 3
  end

  test "a task is killed, and the caller that awaits it sees that" do
    pool = Pool.new(limit: 1)
    Process.flag(:trap_exit, true)

    {:ok, task} = Penstock.Task.async(pool, &never/0, max_runtime: 20)
    assert {:killed, {Task, :await, _}} = catch_exit(Task.await(task))

    {:ok, task} = Penstock.Task.async(pool, __MODULE__, :forever, [], max_runtime: 20, timeout: 5_000)
    assert Task.yield(task) == {:exit, :killed}

    {:ok, pid} = Penstock.Task.start(pool, &never/0, max_runtime: 20, timeout: 5_000)
    monitor = Process.monitor(pid)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    :ok = Pool.acquire(pool)
    assert Pool.info(pool).killed == 3
  end

  def forever, do: never()

  test "a process that ends in time is neither killed nor counted" do
    pool = Pool.new(limit: 20)

    for _ <- 1..20 do
      {:ok, {pid, monitor}} = Penstock.spawn_monitor(pool, fn -> :done end, max_runtime: 10_000)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}
      assert Task.await(Penstock.Task.async!(pool, fn -> :done end, max_runtime: 10_000)) == :done
    end

    assert Pool.info(pool).killed == 0
  end

  test "of 400 processes none is killed early, and none more than 100 ms late" do
    {ages, slack} = lateness(for(n <- 1..400, do: 100 + rem(n * 7, 300)), &never/0)
    assert Enum.filter(ages, fn {at_most, at_least} -> at_most < 0 or at_least > @grace + slack end) == []
  end

  test "on busy schedulers none is killed early, and none more than 100 ms late" do
    busy = for _ <- 1..(System.schedulers_online() * 4), do: spawn_link(fn -> busy(0) end)
    {ages, slack} = lateness([50, 50, 50, 50, 50], fn -> busy(0) end)

    for pid <- busy do
      Process.unlink(pid)
      Process.exit(pid, :kill)
    end

    assert Enum.filter(ages, fn {at_most, at_least} -> at_most < 0 or at_least > @grace + slack end) == []
  end

  defp busy(n), do: busy(n + 1)

  # A killed process dies only when a scheduler runs it again. With one scheduler, no other
  # process runs during a check of the reaper. So the reaper must pause between its checks.
  test "150,000 processes due at once on one scheduler are killed, and another process runs meanwhile" do
    flags = "+S 1:1 +P 500000"
    assert ChildVM.run(ChildJobs, :overdue, [150_000], flags) == %{killed: 150_000, witness: true}
  end

  test "a task that ends at its deadline has either answered, or was killed and counted" do
    pool = Pool.new(limit: 1_000)
    Process.flag(:trap_exit, true)

    outcomes =
      for n <- 1..300 do
        {:ok, task} =
          Penstock.Task.async(pool, fn -> receive(do: (:never -> :ok), after: (40 + rem(n, 60) -> :done)) end,
            max_runtime: 50
          )

        task
      end
      |> Enum.map(fn task ->
        outcome = Task.yield(task, patience(5_000))
        pid = task.pid
        assert_receive {:EXIT, ^pid, reason}
        {outcome, reason}
      end)

    assert Enum.uniq(outcomes) -- [{{:ok, :done}, :normal}, {{:exit, :killed}, :killed}] == []
    assert Pool.info(pool).killed == Enum.count(outcomes, &(&1 == {{:exit, :killed}, :killed}))
  end

  test "a process that fails at its deadline has either failed, or was killed and counted" do
    pool = Pool.new(limit: 1_000)

    monitors =
      for n <- 1..200 do
        fun = fn -> receive(do: (:never -> :ok), after: (40 + rem(n, 60) -> exit(:failed))) end
        {:ok, {_pid, monitor}} = Penstock.spawn_monitor(pool, fun, max_runtime: 50)
        monitor
      end

    reasons =
      for monitor <- monitors do
        assert_receive {:DOWN, ^monitor, :process, _pid, reason}
        reason
      end

    assert Enum.uniq(reasons) -- [:failed, :killed] == []
    assert Pool.info(pool).killed == Enum.count(reasons, &(&1 == :killed))
  end

  test "a deadline outlives its pool, closed or dropped" do
    name = :"#{__MODULE__}.Closed"
    {:ok, owner} = Pool.start_link(name: name, limit: 1)
    {:ok, {named, named_monitor}} = Penstock.spawn_monitor(name, &never/0, max_runtime: 100)
    me = self()

    # Only this process refers to the pool. Its end drops the pool.
    spawn(fn ->
      {:ok, pid} = Penstock.spawn(Pool.new(limit: 1), &never/0, max_runtime: 100)
      send(me, {:started, pid})
    end)

    assert_receive {:started, unnamed}
    unnamed_monitor = Process.monitor(unnamed)
    Process.unlink(owner)
    GenServer.stop(owner)
    assert_receive {:DOWN, ^named_monitor, :process, ^named, :killed}
    assert_receive {:DOWN, ^unnamed_monitor, :process, ^unnamed, :killed}
  end

  test "the longest :max_runtime is accepted" do
    pool = Pool.new(limit: 1)
    {:ok, pid} = Penstock.spawn(pool, &never/0, max_runtime: 2_147_483_647)
    Process.exit(pid, :kill)
    :ok = Pool.acquire(pool)
    assert Pool.info(pool).killed == 0
  end

  test "run has no :max_runtime, and wrong values are refused before a permit is taken" do
    pool = Pool.new(limit: 1)

    assert_raise ArgumentError, ~r/unknown option :max_runtime\. Known: :timeout, :permits, :key, :keys, :cost$/, fn ->
      Penstock.run(pool, fn -> 1 end, max_runtime: 1)
    end

    for value <- [0, -1, 1.5, :infinity, "1", 2_147_483_648],
        function <- [&Penstock.spawn/3, &Penstock.spawn_link/3, &Penstock.spawn_monitor/3, &Penstock.Task.async/3] do
      error = assert_raise ArgumentError, fn -> function.(pool, &never/0, max_runtime: value) end

      assert error.message ==
               "expected :max_runtime to be a number of milliseconds between 1 and 2147483647, got: #{inspect(value)}"
    end

    assert %{in_use: 0, acquired: 0} = Pool.info(pool)
  end

  test "deadline_end/0 of a process without a deadline returns :ok" do
    assert Native.deadline_end() == :ok
  end
end
