defmodule Penstock.Demo.AxisTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Axis

  doctest Axis

  test "there are at most as many steps as asked for, and the last tick is within the range" do
    for max <- [0.004, 0.1, 0.9, 1, 7.3, 61, 1_056, 32_768, 1_048_576], steps <- [4, 8, 10] do
      ticks = Axis.ticks(max, steps)
      assert hd(ticks) == 0
      assert length(ticks) <= steps + 1
      assert length(ticks) >= 2
      assert List.last(ticks) <= max
    end
  end
end
