defmodule Penstock.Demo.FiguresTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{Figures, Run}

  doctest Figures

  test "commas separate thousands" do
    assert Enum.map([0, 999, 1_000, 1_234_567], &Figures.integer/1) ==
             ["0", "999", "1,000", "1,234,567"]
  end

  test "a dash stands for a figure that a run does not have" do
    run = %Run{attack: "a", title: "a bomb", mode: :unguarded}
    figures = Map.new(Figures.rows(:ping), fn {label, figure} -> {label, figure.(run)} end)

    assert figures["limit of the pool"] == "-"
    assert figures["ping p99"] == "-"
    assert figures["VM survived"] == "no"
  end

  test "runs with innocent clients have rows for their answers" do
    run = %Run{attack: "h", title: "slow", mode: :guarded, asked: 200, answered: 199, slowest_us: 7_000}
    run = %{run | answer_p99_us: 6_000}
    figures = Map.new(Figures.rows(:answers), fn {label, figure} -> {label, figure.(run)} end)

    assert figures["requests of the innocent"] == "200"
    assert figures["  answered"] == "199"
    assert figures["  p99 of its answers"] == "6.0 ms"
    assert figures["  slowest answer"] == "7.0 ms"
    assert length(Figures.rows(:answers)) == length(Figures.rows(:ping)) + 4
  end

  test "runs against a server's queue have rows for it and for the answers, and none for processes" do
    run = %Run{attack: "k", title: "casts", mode: :guarded, limit: 1_000, peak_queue: 1_003, idle_after_us: 5_300}
    run = %{run | asked: 200, answered: 200, answer_p99_us: 15_800}
    figures = Map.new(Figures.rows(:queue), fn {label, figure} -> {label, figure.(run)} end)

    assert figures["limit of the mailbox"] == "1,000"
    assert figures["longest message queue"] == "1,003"
    assert figures["  empty after the load ended"] == "5.3 ms"
    assert figures["  p99 of its answers"] == "15.8 ms"
    refute Map.has_key?(figures, "peak processes")

    assert {_label, figure} = List.keyfind!(Figures.rows(:queue), "  empty after the load ended", 0)
    assert figure.(%{run | idle_after_us: nil}) == "-"
  end

  test "the harm is the memory, the pings, the answers or the queue, and a dash if the VM reported none" do
    run = %Run{attack: "h", title: "slow", mode: :guarded, harm: :answers}
    assert Figures.harm(run) == "-"
    assert Figures.harm(%{run | asked: 200, answered: 199}) == "199/200"
    assert Figures.harm(%{run | harm: :ping, ping_p99_us: 1_900}) == "1.9 ms"
    assert Figures.harm(%{run | harm: :memory, peak_memory_mb: 30.4}) == "30 MB"
    assert Figures.harm(%{run | harm: :queue, peak_queue: 805_339}) == "805,339"
    assert Figures.harm(%{run | harm: :queue, peak_queue: nil}) == "-"
  end
end
