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
    figures = Map.new(Figures.rows(), fn {label, figure} -> {label, figure.(run)} end)

    assert figures["limit of the pool"] == "-"
    assert figures["ping p99"] == "-"
    assert figures["VM survived"] == "no"
  end
end
