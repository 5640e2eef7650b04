defmodule Penstock.Demo.TallyTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Tally

  test "each counter counts for itself, and the peak stays" do
    tally = Tally.new()
    Tally.add(tally, :offered)
    Tally.add(tally, :offered)
    Tally.add(tally, :asked)
    Tally.note_processes(tally)

    assert %{offered: 2, done: 0, asked: 1, answered: 0, slowest_us: 0, peak_processes: peak} = Tally.read(tally)
    assert peak > 0
  end

  test "an answer counts, and the slowest remains" do
    tally = Tally.new()
    now = System.monotonic_time(:microsecond)
    Tally.note_answer(tally, now - 60_000_000)
    Tally.note_answer(tally, now)

    assert %{answered: 2, slowest_us: slowest} = Tally.read(tally)
    assert slowest >= 60_000_000
    assert [^slowest, quick] = Tally.answer_times(tally)
    assert quick < slowest
  end

  test "an answer that comes after the patience of the client has a time, and does not count" do
    tally = Tally.new()
    now = System.monotonic_time(:microsecond)
    Tally.note_answer(tally, now - 60_000_000, 1_000_000)
    Tally.note_answer(tally, now, 60_000_000)

    assert %{answered: 1} = Tally.read(tally)
    assert [60_000_000..80_000_000, 0..20_000_000] |> Enum.zip(Tally.answer_times(tally)) |> Enum.all?(&within?/1)
  end

  test "the queue is that of now, and the longest one and the time until idle stay" do
    tally = Tally.new()
    assert %{queue: 0, peak_queue: 0, idle_after_us: 0} = Tally.read(tally)
    Tally.note_queue(tally, 7)
    Tally.note_queue(tally, 3)
    assert %{queue: 3, peak_queue: 7} = Tally.read(tally)

    # 0 stands for an unknown time.
    Tally.note_idle(tally, 0)
    assert %{idle_after_us: 1} = Tally.read(tally)
    Tally.note_idle(tally, 5_300)
    assert %{idle_after_us: 5_300} = Tally.read(tally)
  end

  defp within?({range, time}), do: time in range
end
