defmodule Penstock.Node.ReaperTest do
  # The tests kill and suspend the reaper. Not async, because it serves the whole VM.
  #
  # | scenario                                | rules out                                       |
  # |-----------------------------------------|-------------------------------------------------|
  # | the reaper is killed again and again    | a deadline that its death loses                 |
  # | it is killed after it took a deadline   | a kill that is lost, or counted twice           |
  # | 10,000 processes end before a deadline  | a deadline that outlives its process            |
  # | no process has a deadline               | a reaper that does not sleep, or does not wake  |
  # | an unknown message                      | a reaper that dies of the message               |
  use Penstock.PoolCase

  alias Penstock.Native
  alias Penstock.Node.Reaper

  defp never, do: receive(do: (:never -> :ok))

  defp kill_reaper do
    reaper = Process.whereis(Reaper)
    Process.exit(reaper, :kill)
    eventually(fn -> Process.whereis(Reaper) not in [nil, reaper] end)
  end

  # Returns `true` if the reaper can sleep, because no process has a deadline.
  defp asleep? do
    # `deadline_rest` is the reaper's own call. The test suspends the reaper, so that the reaper
    # does not call at the same time.
    :ok = :sys.suspend(Reaper)
    rest = Native.deadline_rest()
    :ok = :sys.resume(Reaper)
    rest == :ok
  end

  test "a reaper that is killed again and again loses no deadline" do
    pool = Pool.new(limit: 300)

    monitors =
      for n <- 1..300 do
        if rem(n, 50) == 0, do: kill_reaper()
        {:ok, {_pid, monitor}} = Penstock.spawn_monitor(pool, &never/0, max_runtime: n)
        monitor
      end

    for {monitor, n} <- Enum.with_index(monitors) do
      if rem(n, 30) == 0, do: kill_reaper()
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}
    end

    assert Pool.info(pool).killed == 300
  end

  test "a deadline that a killed reaper had taken goes to the next reaper, and the kill counts once" do
    pool = Pool.new(limit: 1)
    :ok = :sys.suspend(Reaper)
    {:ok, {pid, monitor}} = Penstock.spawn_monitor(pool, &never/0, max_runtime: 1)
    # The test takes the due deadline in place of the reaper. So the reaper seems to have died
    # after it took the deadline, and before it killed the process.
    eventually(fn -> pid in Native.deadline_due() end)
    assert Native.deadline_due() == []
    assert Process.alive?(pid)
    kill_reaper()
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert Pool.info(pool).killed == 1
  end

  test "processes that end before their :max_runtime of an hour leave no deadline" do
    pool = Pool.new(limit: 100)

    for n <- 1..10_000 do
      {:ok, {pid, monitor}} =
        Penstock.spawn_monitor(pool, fn -> if rem(n, 2) == 0, do: exit(:kill) end,
          max_runtime: 3_600_000,
          timeout: :infinity
        )

      if rem(n, 3) == 0, do: Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
    end

    eventually(&asleep?/0)
    assert Pool.info(pool).killed == 0
  end

  test "a reaper sleeps while there is no deadline, and wakes for the next one" do
    eventually(&asleep?/0)
    # No message waits for the reaper, so it still sleeps.
    {:message_queue_len, 0} = Process.info(Process.whereis(Reaper), :message_queue_len)
    pool = Pool.new(limit: 1)
    {:ok, {pid, monitor}} = Penstock.spawn_monitor(pool, &never/0, max_runtime: 1)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
  end

  test "an unknown message does not end the reaper" do
    reaper = Process.whereis(Reaper)
    send(reaper, :what)
    _state = :sys.get_state(reaper)
    assert Process.whereis(Reaper) == reaper
  end
end
