defmodule Penstock.Test.PlantedBugsTest do
  # Each planted bug is found by the function that is for it, and the message names the place. The
  # same function passes on the harmless twin.
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO
  import Penstock.Test
  alias MyApp.PlantedBugs
  alias Penstock.Pool

  defp failure(fun), do: assert_raise(ExUnit.AssertionError, fun).message

  test "a task for each element" do
    message = failure(fn -> assert_bounded(10, fn -> PlantedBugs.TaskForEach.bug(1..50) end) end)
    assert message =~ "expected at most 10 processes to live at once, but 50 did"
    assert message =~ "50 by "
    assert message =~ "MyApp.PlantedBugs.TaskForEach.bug/1"

    # The stream has a process of its own besides five tasks.
    assert assert_bounded(6, fn -> PlantedBugs.TaskForEach.twin(1..20) end) == Enum.to_list(1..20)
  end

  test "a recursive spawn ends the test and not the node" do
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        assert_bounded(10, fn ->
          PlantedBugs.RecursiveSpawn.bug()
          send(test, :not_reached)
        end)
      end)

    assert_receive {:DOWN, ^monitor, :process, ^pid, {%ExUnit.AssertionError{message: message}, []}}
    assert message =~ "More than 1,100 were too many to go on"
    assert message =~ "by MyApp.PlantedBugs.RecursiveSpawn.bug/1"
    refute_received :not_reached

    pool = start_gate!(:pool, limit: 10)
    assert_bounded(10, fn -> PlantedBugs.RecursiveSpawn.twin(pool, 8) end)
  end

  test "a task for each message" do
    {:ok, server} = PlantedBugs.Server.start_link([])

    message =
      failure(fn -> assert_bounded(10, fn -> PlantedBugs.TaskForMessage.bug(server, 30) end, servers: [server]) end)

    assert message =~ "but 30 did"
    assert message =~ "which runs anonymous fn/0 in MyApp.PlantedBugs.Server.handle_cast/2"

    {:ok, guarded} = PlantedBugs.Server.start_link(gate: start_gate!(:pool, limit: 10))
    assert_bounded(10, fn -> PlantedBugs.TaskForMessage.twin(guarded, 30) end, servers: [guarded])
  end

  test "a supervisor without a bound" do
    {:ok, supervisor} = DynamicSupervisor.start_link([])
    message = failure(fn -> assert_bounded(10, fn -> PlantedBugs.NoMaxChildren.bug(supervisor, 30) end) end)
    assert message =~ "but 30 did"
    assert message =~ "30 by "
    assert message =~ "MyApp.PlantedBugs.NoMaxChildren.bug/2"

    supervisor = start_gate!(:dynamic_supervisor, limit: 10)
    assert_bounded(10, fn -> PlantedBugs.NoMaxChildren.twin(supervisor, 30) end)
  end

  test "a leaked process" do
    message = failure(fn -> refute_leak(&PlantedBugs.LeakedProcess.bug/0) end)
    assert message =~ "1 process, created:"
    assert message =~ "by MyApp.PlantedBugs.LeakedProcess.bug/0"
    assert refute_leak(&PlantedBugs.LeakedProcess.twin/0) == 1
  end

  test "a leaked ETS table" do
    message = failure(fn -> refute_leak(fn -> PlantedBugs.LeakedTable.bug([1, 2, 1]) end) end)
    assert message =~ "the ETS table :seen_items of "
    assert message =~ "made by MyApp.PlantedBugs.LeakedTable.bug/1"
    assert refute_leak(fn -> PlantedBugs.LeakedTable.twin([1, 2, 1]) end) == 2
  end

  test "a leaked port" do
    message = failure(fn -> refute_leak(&PlantedBugs.LeakedPort.bug/0) end)
    assert message =~ "the port #Port<"
    assert message =~ "made by MyApp.PlantedBugs.LeakedPort.bug/0"
    assert refute_leak(&PlantedBugs.LeakedPort.twin/0) == :ok
  end

  test "a leaked timer" do
    message = failure(fn -> refute_leak(&PlantedBugs.LeakedTimer.bug/0) end)
    assert message =~ "a timer that expires in "
    assert message =~ "made by MyApp.PlantedBugs.LeakedTimer.bug/0"
    assert refute_leak(&PlantedBugs.LeakedTimer.twin/0) == :answer
  end

  test "a permit that is kept" do
    pool = start_gate!(:pool, limit: 2)
    message = failure(fn -> refute_leak(fn -> PlantedBugs.PermitKept.bug(pool, :empty) end) end)
    assert message =~ "1 permit of #{inspect(pool)}, held by the test's process"
    assert refute_leak(fn -> PlantedBugs.PermitKept.twin(pool, :empty) end) == {:ok, :nothing_to_do}
  end

  test "a permit that is released twice" do
    pool = start_gate!(:pool, limit: 4)
    figures = flood(50, fn -> PlantedBugs.ReleasedTwice.bug(pool) end)
    assert figures.peak > 2

    pool = start_gate!(:pool, limit: 4)
    figures = flood(50, fn -> PlantedBugs.ReleasedTwice.twin(pool) end)
    assert figures.peak <= 2
    assert figures.ok + figures.refused == 50
  end

  test "a limiter that is asked after the work" do
    limiter = start_gate!(:rate_limiter, limit: 5, per: 60_000)

    for {ask, times} <- [{&PlantedBugs.AskedTooLate.bug/2, 1}, {&PlantedBugs.AskedTooLate.twin/2, 0}] do
      work = fn -> send(self(), :worked) end
      assert {:error, {:rate_limited, _ms}} = fill(limiter, [reason: :rate_limited], fn -> ask.(limiter, work) end)
      for _ <- 1..times//1, do: assert_received(:worked)
      refute_received :worked
    end
  end

  test "a permit that an unlinked process keeps over a kill" do
    pool = start_gate!(:pool, limit: 3)

    capture_io(fn ->
      message =
        failure(fn ->
          kill_storm(fn -> PlantedBugs.UnlinkedHolder.bug(pool) end, within: 100, gates: [pool], rounds: 200, seed: 1)
        end)

      assert message =~ "#{inspect(pool)} has "
      assert message =~ "permits in use (0 before)"
      assert message =~ "created by MyApp.PlantedBugs.UnlinkedHolder.bug/1"
      assert message =~ "kill_storm(fun, seed: 1)"
      assert %{kills: kills} = kill_storm(fn -> PlantedBugs.UnlinkedHolder.twin(pool) end, gates: [pool])
      assert kills > 0
    end)

    assert Pool.info(pool).in_use == 0
  end
end
