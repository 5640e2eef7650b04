defmodule Penstock.Demo.PercentileTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Percentile

  doctest Percentile

  test "one value is every percentile" do
    assert Percentile.of([7], [0, 50, 99, 100]) == [7, 7, 7, 7]
  end

  test "the nearest rank of a hundred values is the percentile itself" do
    assert 1..100 |> Enum.shuffle() |> Percentile.of([1, 50, 99, 100]) == [1, 50, 99, 100]
  end

  test "a single slow value in a thousand is the maximum, not the p99" do
    assert Percentile.of([9_999 | List.duplicate(1, 999)], [99, 100]) == [1, 9_999]
  end
end
