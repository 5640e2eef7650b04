defmodule Penstock.Demo.ProgressTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Penstock.Demo.{Attack.SlowClients, Attack.SpawnBomb, Progress, Recording}

  @tally %{offered: 9, done: 6_000, refused: 1, system_limit: 2_000, peak_processes: 0, answered: 0, queue: 0}

  defp attacked do
    SpawnBomb
    |> Recording.new(:guarded)
    |> Recording.add({:attacked, 1_000_000, %{baseline: 50, process_limit: 32_768}})
    |> Recording.add({:processes, 2_500_000, 1_050, @tally})
  end

  test "the line tells that the VM starts, and later the time, the processes and the work" do
    assert Progress.line(Recording.new(SpawnBomb, :unguarded)) ==
             "(a) unguarded  starting the VM"

    assert Progress.line(Recording.new(SlowClients, :one_pool)) ==
             "(h) one pool   starting the VM"

    assert Progress.line(attacked()) ==
             "(a) guarded    1.5 s  1,050 processes, 6,000 done, 2,001 refused"
  end

  test "without a terminal, the start of the VM gets one line, however long it takes" do
    starting = Recording.new(SpawnBomb, :guarded)

    output =
      capture_io(fn ->
        shown = Progress.new(false) |> Progress.show(starting)
        long_ago = %{shown | shown_at: shown.shown_at - 5_000}
        long_ago |> Progress.show(starting) |> Progress.show(attacked())
      end)

    assert output == Progress.line(starting) <> "\n" <> Progress.line(attacked()) <> "\n"
  end

  test "without a terminal, an attack gets at most one line a second" do
    output =
      capture_io(fn ->
        progress = Progress.new(false) |> Progress.show(attacked()) |> Progress.show(attacked())
        Progress.clear(progress)
      end)

    assert output == Progress.line(attacked()) <> "\n"
  end

  test "on a terminal, one line is overwritten, and cleared at the end" do
    output = capture_io(fn -> Progress.new(true) |> Progress.show(attacked()) |> Progress.clear() end)

    assert output == "\r\e[2K" <> Progress.line(attacked()) <> "\r\e[2K"
  end
end
