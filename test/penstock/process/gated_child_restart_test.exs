defmodule Penstock.Process.GatedChildRestartTest do
  # Restarts of children behind a gate. See also gated_child_steps_test.exs.
  #
  # | scenario                                  | rules out                                      |
  # |-------------------------------------------|------------------------------------------------|
  # | all children die, waiters want permits    | a child that does not come back; a lost permit |
  # | a full pool with an overdraft             | a caller admitted before the overdraft is 0    |
  # | a limit below the number of children      | a refused restart, for any `:max_overdraft`    |
  # | a closed gate, and `:max_runtime`         | an unguarded child without its deadline        |
  # | no overdraft left                         | more retries than OTP makes                    |
  # | rest_for_one and one_for_all              | a group that cannot come back at a full pool   |
  # | a gate that is closed, or gone            | a supervisor that fails because of its gate    |
  # | children that are not restarted           | permits that they keep                         |
  # | children die repeatedly, spawners compete | more permits than the limit and the overdraft  |
  use Penstock.PoolCase, async: true

  import ExUnit.CaptureLog
  import Penstock.GatedChildren

  alias Penstock.GatedChildren.Child

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  describe "a restart" do
    test "takes over the permit of its predecessor, although waiters want it" do
      for pool <- both(limit: 3) do
        {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000)
        for n <- 1..3, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))
        parked = for _ <- 1..5, do: park(pool)

        for _ <- 1..20 do
          old = pids(supervisor)
          Enum.each(old, &Process.exit(&1, :kill))
          restarted(supervisor, old)
        end

        # A waiter may have taken a permit before a restart. That restart then exceeded the limit,
        # and the waiters get no further permit until the overdraft is paid back.
        info = Pool.info(pool)
        assert info.in_use <= 6 and info.overdraft == info.in_use - 3
        assert DynamicSupervisor.count_children(supervisor).active == 3
        Enum.each(parked, fn {pid, _} -> kill(pid) end)
        eventually(fn -> Pool.info(pool).in_use == 3 end)
        Supervisor.stop(supervisor)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end

    test "exceeds the limit up to max_overdraft, which is paid back before a caller is admitted" do
      pool = Pool.new(limit: 4, max_overdraft: 2)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      for n <- 1..2, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))
      holders = for _ <- 1..2, do: holder(pool)
      :ok = Pool.update(pool, limit: 2)

      # The dead child's permit may return before the restart, or after it. Either way the
      # overdraft is 2 again.
      for _ <- 1..5 do
        old = pids(supervisor)
        Process.exit(hd(old), :kill)
        eventually(fn -> length(pids(supervisor)) == 2 and hd(old) not in pids(supervisor) end)
        eventually(fn -> Pool.info(pool).overdraft == 2 end)
        assert Penstock.spawn(pool, fn -> :never end) == {:error, :full}
      end

      Enum.each(holders, &kill/1)
      eventually(fn -> Pool.info(pool).overdraft == 0 end)
      assert Penstock.spawn(pool, fn -> :never end) == {:error, :full}
      :ok = DynamicSupervisor.terminate_child(supervisor, hd(pids(supervisor)))
      :ok = Pool.acquire(pool)
    end

    test "after a smaller limit brings all children back, for any max_overdraft" do
      for opts <- [[limit: 60], [limit: 60, max_overdraft: 0], [limit: 60, max_overdraft: 20]] do
        pool = Pool.new(opts)
        {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000)
        for n <- 1..60, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))
        :ok = Pool.update(pool, limit: 20)

        for _ <- 1..5 do
          old = Enum.take_random(pids(supervisor), 10)
          rejected = Pool.info(pool).rejected
          Enum.each(old, &Process.exit(&1, :kill))
          eventually(fn -> length(pids(supervisor)) == 60 and old -- pids(supervisor) == old end)
          eventually(fn -> Pool.info(pool).in_use == 60 end)
          assert Pool.info(pool).rejected == rejected
        end

        Supervisor.stop(supervisor)
      end
    end

    test "behind a closed gate keeps its :max_runtime" do
      pool = Pool.new(limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      start = {Child, :start_link, [1]}
      gated = %Penstock.Process.GatedChild{gate: pool, start: start, max_runtime: 100}

      {:ok, child} =
        DynamicSupervisor.start_child(supervisor, Penstock.Process.GatedChild.child_spec(%{id: 1, start: start}, gated))

      capture_log(fn ->
        {:error, _} = Pool.drain(pool, 0)
        kill(child)
        restarted(supervisor, [child])
        [next] = pids(supervisor)
        monitor = Process.monitor(next)
        assert_receive {:DOWN, ^monitor, :process, ^next, reason}
        assert reason in [:killed, :noproc]
        Supervisor.stop(supervisor)
      end)
    end

    test "beyond max_overdraft fails, and the supervisor's intensity decides" do
      pool = Pool.new(limit: 1, max_overdraft: 0)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 3, max_seconds: 60)
      {:ok, child} = DynamicSupervisor.start_child(supervisor, spec(1, pool))
      {waiter, ref} = park(pool)
      # Suspends the supervisor, so that the waiter gets the permit before the restart.
      :ok = :sys.suspend(supervisor)
      kill(child)
      assert answer(ref) == :ok

      capture_log(fn ->
        :ok = :sys.resume(supervisor)
        assert_receive {:EXIT, ^supervisor, :shutdown}
      end)

      # The supervisor has tried as often as it tries without Penstock.
      assert Pool.info(pool).rejected == 3
      kill(waiter)
      :ok = Pool.acquire(pool)
    end

    for strategy <- [:rest_for_one, :one_for_all] do
      test "of a group, #{strategy}, succeeds at a full pool" do
        pool = Pool.new(limit: 3)
        children = for n <- 1..3, do: spec(n, pool)
        {:ok, supervisor} = Supervisor.start_link(children, strategy: unquote(strategy), max_restarts: 100)
        waiters = for _ <- 1..3, do: park(pool)

        for _ <- 1..10 do
          old = pids(supervisor)
          [{3, _, _, _}, {2, _, _, _}, {1, first, _, _}] = Supervisor.which_children(supervisor)
          Process.exit(first, :kill)
          restarted(supervisor, old)
          info = Pool.info(pool)
          assert info.in_use <= 6
        end

        Enum.each(waiters, fn {pid, _} -> kill(pid) end)
        eventually(fn -> Pool.info(pool).in_use == 3 end)
        Supervisor.stop(supervisor)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end

    test "behind a closed gate, or one that is gone, runs unguarded and logs a warning" do
      name = start_pool(limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      {:ok, child} = DynamicSupervisor.start_child(supervisor, spec(1, name))

      log =
        capture_log(fn ->
          {:error, _} = Pool.drain(name, 0)
          kill(child)
          restarted(supervisor, [child])
        end)

      assert log =~ "the gate #{inspect(name)} is closed: "
      assert log =~ "starts a child unguarded, by Penstock.GatedChildren.Child.start_link/1"
      [child] = pids(supervisor)
      :ok = stop_supervised({Pool, name})

      log =
        capture_log(fn ->
          kill(child)
          restarted(supervisor, [child])
        end)

      assert log =~ "the gate #{inspect(name)} is not running any more: "
    end

    test "does not happen to a temporary child, or to a transient one that ended well" do
      pool = Pool.new(limit: 2)
      {:ok, supervisor} = DynamicSupervisor.start_link([])
      {:ok, transient} = DynamicSupervisor.start_child(supervisor, spec(1, pool, restart: :transient))
      {:ok, temporary} = DynamicSupervisor.start_child(supervisor, spec(1, pool, restart: :temporary))
      GenServer.stop(transient)
      kill(temporary)
      eventually(fn -> DynamicSupervisor.count_children(supervisor).active == 0 end)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end
  end

  test "killed children and competing spawners never hold more than the limit and the overdraft" do
    pool = Pool.new(limit: 100, max_waiting: 0)
    {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 100_000)
    for n <- 1..100, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))

    hammers =
      for _ <- 1..20 do
        spawn_link(fn -> hammer(pool) end)
      end

    for _ <- 1..10 do
      Enum.each(pids(supervisor), &Process.exit(&1, :kill))
      eventually(fn -> DynamicSupervisor.count_children(supervisor).active == 100 end)
      eventually(fn -> Pool.info(pool).in_use <= 100 end)
    end

    Enum.each(hammers, &kill/1)
    info = Pool.info(pool)
    assert info.peak <= 200
    Supervisor.stop(supervisor)
    eventually(fn -> counts(pool) == {0, 0, 0} end)
  end

  defp hammer(pool) do
    _ = Penstock.spawn(pool, fn -> :erlang.yield() end)
    hammer(pool)
  end
end
