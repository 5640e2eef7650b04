defmodule Penstock.Top.ViewTest do
  use ExUnit.Case, async: true

  alias Penstock.Top.View

  @gates %{section: :gates, rows: 12}

  defp press(keys, shown \\ @gates),
    do: Enum.reduce(keys, %View{}, fn key, view -> View.press(view, key, shown) end)

  test "the keys of the orders are those of the documentation" do
    sorts = for key <- ~w(s n u a r w), do: press([key]).sort
    assert sorts == [:state, :name, :used, :admitted, :refused, :waiting]
    assert Enum.sort(sorts) == Enum.sort(View.sorts())
    assert View.sort("x") == nil
  end

  test "q, ctrl-c and ctrl-d quit, also from the help" do
    for key <- ["q", "Q", <<3>>, <<4>>], before <- [[], ["h"]], do: assert(press(before ++ [key]) == :quit)
  end

  test "a key leaves the help and does nothing else" do
    assert press(["?"]).help?
    assert press(["h", "n"]) == %View{}
  end

  test "tab goes round, digits choose" do
    for {section, next} <- [all: :gates, gates: :holders, holders: :keys, keys: :bans, bans: :all],
        do: assert(press(["\t"], %{section: section, rows: 0}).section == next)

    assert for(key <- ~w(0 1 2 3 4), do: press([key]).section) == [:all, :gates, :holders, :keys, :bans]
  end

  test "scrolling stays within the table, and starts again with another order" do
    assert press(["k"]).from == 0
    assert press(["j"]).from == 5
    assert press(List.duplicate("j", 9)).from == 11
    assert press(["j", "k"]).from == 0
    assert press(["j", "n"]).from == 0
    assert press(["j"], %{section: :keys, rows: 0}).from == 0
  end

  test "p pauses and goes on; other keys change nothing" do
    assert press(["p"]).paused?
    assert press(["p", "p"]) == %View{}
    for key <- ["x", "", "5", "é", "\e", "漢", <<255>>, "\n"], do: assert(press([key]) == %View{})
  end
end
