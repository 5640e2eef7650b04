defmodule Penstock.DrainerTest do
  # Not async: some tests assert that the log is empty, and each process of the VM writes to it.
  use Penstock.PoolCase
  doctest Penstock.Drainer

  import ExUnit.CaptureLog
  alias Penstock.{ChildJobs, ChildVM, Drainer}

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp job(pool) do
    me = self()

    {:ok, pid} =
      Penstock.spawn(pool, fn ->
        send(me, {:working, self()})
        receive do: (:done -> :ok)
      end)

    assert_receive {:working, ^pid}
    pid
  end

  defp finish(job) do
    monitor = Process.monitor(job)
    send(job, :done)
    assert_receive {:DOWN, ^monitor, :process, ^job, :normal}
  end

  test "a tree that stops admits no caller, and waits for running work" do
    [first, second] = [unique_name(), unique_name()]
    outside = Pool.new(limit: 1)

    {:ok, tree} =
      Supervisor.start_link(
        [
          {Pool, name: first, limit: 2},
          {Penstock.DynamicSupervisor, name: second, limit: 2},
          {Drainer, pools: [first, second, outside], shutdown: 10_000}
        ],
        strategy: :one_for_one
      )

    jobs = [job(first), job(outside)]

    {:ok, child} =
      Penstock.DynamicSupervisor.start_child(second, %{
        id: 1,
        start: {Agent, :start_link, [fn -> 1 end]},
        restart: :temporary
      })

    Process.exit(tree, :shutdown)
    eventually(fn -> Enum.all?([first, second, outside], &(Pool.info(&1).status == :draining)) end)
    for gate <- [first, second, outside], do: assert(Pool.try_acquire(gate) == {:error, :closed})
    assert Penstock.DynamicSupervisor.start_child(second, {Agent, fn -> 1 end}) == {:error, :closed}
    assert Process.alive?(tree)
    Enum.each(jobs, &send(&1, :done))
    Agent.stop(child)

    assert capture_log(fn -> assert_receive {:EXIT, ^tree, :shutdown} end) == ""
    assert counts(outside) == {0, 0, 0}
  end

  test "a drainer waits no longer than :shutdown, and logs how many permits are still held" do
    pool = Pool.new(limit: 1)
    {:ok, drainer} = Drainer.start_link(pools: [pool], shutdown: 20)
    job = job(pool)
    log = capture_log(fn -> GenServer.stop(drainer, :shutdown) end)
    assert log =~ "was not drained within 20 ms; permits still held: 1"
    assert Process.alive?(job)
    assert Drainer.child_spec(pools: [pool], shutdown: 20).shutdown > 20
    # The start of the next drainer reopens the pool.
    {:ok, _} = Drainer.start_link(pools: [pool])
    assert Pool.info(pool).status == :open
    # That drainer ends after the test. It would log the permit of the job, if the job still ran.
    finish(job)
  end

  test "a tree that stops before or after its pool reports no error, and no permit stays held" do
    for order <- [:first, :last], strategy <- [:one_for_one, :rest_for_one] do
      [pool, supervisor, tasks] = for _ <- 1..3, do: unique_name()

      users = [
        {Penstock.DynamicSupervisor, name: supervisor, gate: pool},
        {Penstock.Task.Supervisor, name: tasks, gate: pool, partitions: 2},
        Penstock.child_spec(%{id: :gated, start: {Agent, :start_link, [fn -> 1 end]}}, pool)
      ]

      log =
        capture_log(fn ->
          # `:last`: the pool is the first child of the tree, so the tree stops the pool last.
          # `:first`: the pool is outside of the tree, and the test stops it before the tree.
          {tree, outside} =
            if order == :last do
              {:ok, tree} = Supervisor.start_link([{Pool, name: pool, limit: 10} | users], strategy: strategy)
              {tree, nil}
            else
              {:ok, outside} = Pool.start_link(name: pool, limit: 10)
              {:ok, tree} = Supervisor.start_link(users, strategy: strategy)
              {tree, outside}
            end

          for n <- 1..3, do: {:ok, _} = Penstock.DynamicSupervisor.start_child(supervisor, {Agent, fn -> n end})

          for _ <- 1..3,
              do: {:ok, _} = Penstock.Task.Supervisor.start_child(tasks, fn -> receive(do: (:never -> :ok)) end)

          assert Pool.info(pool).in_use == 7
          if outside, do: GenServer.stop(outside)
          Supervisor.stop(tree)
        end)

      assert log == ""
      # The next pool of the name starts without permits of the old pool's holders.
      {:ok, _} = Pool.start_link(name: pool, limit: 10)
      assert counts(pool) == {0, 0, 0}
    end
  end

  test "the pools of a crashed tree are open after its restart, although the old drainer ends after the restart" do
    [first, second] = pools = for _ <- 1..2, do: Pool.new(limit: 1)
    jobs = for pool <- pools, do: job(pool)
    start = fn -> Supervisor.start_link([{Drainer, pools: pools, shutdown: 3_000}], strategy: :one_for_one) end
    {:ok, tree} = start.()
    [{_, drainer, _, _}] = Supervisor.which_children(tree)
    monitor = Process.monitor(drainer)
    kill(tree)
    {:ok, _} = start.()
    assert_receive {:DOWN, ^monitor, :process, ^drainer, :killed}
    assert {Pool.info(first).status, Pool.info(second).status} == {:open, :open}
    # The new drainer ends after the test. It would log the permits of the jobs, if these still
    # ran.
    Enum.each(jobs, &finish/1)
  end

  test "bad input raises with the reason" do
    pool = Pool.new(limit: 1)

    for {opts, message} <- [
          {[], "the option :pools is missing, such as {Penstock.Drainer, pools: [MyApp.Jobs]}"},
          {[pools: pool], "expected :pools to be a list of pools"},
          {[pools: [MyApp.NoPool]], "no pool named MyApp.NoPool is running"},
          {[pools: [1]], "expected pool to be"},
          {[pools: [pool], shutdown: -1], "expected :shutdown to be a number of milliseconds"},
          {[pools: [pool], colour: 1], "unknown option :colour. Known: :pools, :shutdown"}
        ] do
      error = assert_raise ArgumentError, fn -> Drainer.start_link(opts) end
      assert Exception.message(error) =~ message
    end
  end

  for how <- [:stop, :sigterm] do
    test "an application that is ended (#{how}) drains, and reports no error" do
      assert %{output: output, status: 0} = ChildVM.application(ChildJobs, :drained_application, [unquote(how)])
      assert output =~ "the last job is done"
      refute output =~ "error"
      refute output =~ "warning"
    end
  end
end
