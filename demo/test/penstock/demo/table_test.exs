defmodule Penstock.Demo.TableTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{Run, Table}

  test "each attack has a block with its modes side by side, within 80 columns" do
    runs =
      for attack <- ["a", "b"], mode <- [:unguarded, :guarded] do
        %Run{attack: attack, title: "attack #{attack}", mode: mode, offered: 1_234_567}
      end

    lines = runs |> Table.render() |> IO.iodata_to_binary() |> String.split("\n")

    assert Enum.count(lines, &(&1 =~ ~r/^\([ab]\) attack [ab] +unguarded +guarded$/)) == 2
    assert Enum.count(lines, &(&1 =~ ~r/^work offered +1,234,567 +1,234,567$/)) == 2
    refute Enum.any?(lines, &(&1 =~ "guarded by"))
    assert Enum.all?(lines, &(byte_size(&1) <= 80))
  end

  test "three modes fit into 80 columns as well" do
    runs =
      for mode <- [:unguarded, :one_pool, :guarded] do
        %Run{
          attack: "h",
          title: "slow clients",
          mode: mode,
          harm: :answers,
          offered: 1_234_567,
          asked: 200,
          answered: 7
        }
      end

    lines = runs |> Table.render() |> IO.iodata_to_binary() |> String.split("\n")

    assert Enum.any?(lines, &(&1 =~ ~r/^\(h\) slow clients +unguarded +one pool +guarded$/))
    assert Enum.any?(lines, &(&1 =~ ~r/^work offered +1,234,567 +1,234,567 +1,234,567$/))
    assert Enum.any?(lines, &(&1 =~ ~r/^  answered +7 +7 +7$/))
    assert Enum.all?(lines, &(byte_size(&1) <= 80))
  end

  test "the guard of an attack stands above its figures" do
    run = %Run{attack: "a", title: "a bomb", mode: :guarded, guard: "a gate"}

    assert [_heading, _rule, "guarded by a gate" | _] =
             [run] |> Table.render() |> IO.iodata_to_binary() |> String.split("\n")
  end
end
