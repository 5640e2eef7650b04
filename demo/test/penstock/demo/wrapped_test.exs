defmodule Penstock.Demo.WrappedTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Wrapped

  doctest Wrapped

  test "no line is longer than 80 columns, and no word is lost" do
    text = Enum.map_join(1..100, " ", &String.duplicate("x", rem(&1, 11) + 1))
    lines = text |> Wrapped.lines() |> IO.iodata_to_binary() |> String.split("\n", trim: true)

    assert Enum.join(lines, " ") == text
    assert Enum.all?(lines, &(byte_size(&1) in 70..80 or &1 == List.last(lines)))
  end
end
