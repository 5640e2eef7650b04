defmodule Penstock.Test.CrowdTest do
  # Tests assert_bounded/3 while other processes create many. Not async, because the tracer of another
  # test would have to read of them all, and might not keep step.
  use ExUnit.Case, async: false

  import Penstock.Test
  alias MyApp.PlantedBugs

  setup do
    others = for _ <- 1..3, do: spawn(fn -> spawner() end)
    on_exit(fn -> for other <- others, do: Process.exit(other, :kill) end)
  end

  # Pauses, so that the tracer can keep step.
  defp spawner do
    for _ <- 1..400, do: spawn(fn -> PlantedBugs.work(:done, 1) end)
    PlantedBugs.work(:done, 1)
    spawner()
  end

  test "does not count the processes of others" do
    assert_bounded(0, fn -> PlantedBugs.work(:done, 10) end)
  end

  # A process keeps a trace message while another one sends to the tracer, which was lost before, in
  # one call of five.
  test "counts exactly" do
    for n <- 1..20 do
      create = fn -> for _ <- 1..n, do: spawn(&PlantedBugs.block/0) end
      message = assert_raise(ExUnit.AssertionError, fn -> assert_bounded(0, create) end).message
      assert message =~ "to live at once, but #{n} did."
    end
  end

  # The next call waits for that before OTP 29.
  test "the tracing of a bomb ends" do
    bomb = fn -> for _ <- 1..5_000, do: spawn(&PlantedBugs.block/0) end
    {pid, monitor} = spawn_monitor(fn -> assert_bounded(0, bomb) end)
    assert_receive {:DOWN, ^monitor, :process, ^pid, {%ExUnit.AssertionError{}, []}}, Penstock.PoolCase.patience(30_000)
    assert assert_bounded(0, fn -> :ok end) == :ok
  end
end
