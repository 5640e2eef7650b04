defmodule Penstock.Top.FigureTest do
  use ExUnit.Case, async: true

  alias Penstock.Top.Figure

  test "a count takes at most five columns" do
    for {n, text} <- [
          {nil, "-"},
          {:infinity, "inf"},
          {0, "0"},
          {9_999, "9999"},
          {10_000, "10.0k"},
          {99_949, "99.9k"},
          {99_950, "100k"},
          {999_499, "999k"},
          {999_500, "1.0M"},
          {0x7FFF_FFFF, "2.1G"},
          {0xFFFF_FFFF_FFFF_FFFF, "18.4E"}
        ] do
      assert {n, Figure.count(n)} == {n, text}
    end

    for power <- 0..63,
        n = Bitwise.bsl(1, power),
        near <- [n - 1, n, n + 1],
        do: assert(byte_size(Figure.count(near)) <= 5)
  end

  test "rates and times" do
    for {rate, text} <- [{nil, "-"}, {0.0, "0"}, {0.04, "0.0"}, {9.94, "9.9"}, {9.95, "10"}, {12_345.6, "12.3k"}],
        do: assert(Figure.rate(rate) == text)

    for {ms, text} <- [
          {0, "0 ms"},
          {999, "999 ms"},
          {1_000, "1.0 s"},
          {61_000, "1 m 1 s"},
          {3_661_000, "1 h 1 m"},
          {90_000_000, "1 d 1 h"},
          {:infinity, "no end"}
        ],
        do: assert(Figure.time(ms) == text)
  end

  test "a bar has its width, and shows a small use" do
    for {share, bar} <- [{0, "    "}, {0.01, "|   "}, {0.5, "||  "}, {0.99, "||||"}, {1.0, "||||"}, {7.5, "||||"}],
        do: assert(Figure.bar(share, 4) == bar)

    assert Figure.bar(0.5, 0) == ""
  end
end
