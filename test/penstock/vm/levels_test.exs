defmodule Penstock.VM.LevelsTest do
  use ExUnit.Case, async: true

  alias Penstock.VM.Levels

  @shares {0.5, 0.75, 0.9}

  test "a level is reached at its share, and left 0.05 below it" do
    for {share, before, level} <- [
          {0.4999, 0, 0},
          {0.5, 0, 1},
          {0.75, 0, 2},
          {0.9, 0, 3},
          {1.0, 1, 3},
          {0.86, 3, 3},
          {0.85, 3, 2},
          {0.71, 3, 2},
          {0.70, 3, 1},
          {0.70, 2, 1},
          {0.701, 2, 2},
          {0.46, 3, 1},
          {0.45, 3, 0},
          {0.45, 1, 0},
          {0.0, 3, 0}
        ] do
      assert {share, before, Levels.next(share, before, @shares)} == {share, before, level}
    end
  end

  test "a level that is left is left exactly 0.05 below its share, for each share" do
    for hundredths <- 7..100, share = hundredths / 100 do
      shares = {0.06, 0.065, share}
      assert Levels.next((hundredths - 5) / 100, 3, shares) < 3
      assert Levels.next((hundredths - 4.9) / 100, 3, shares) == 3
    end
  end

  test "the word has each level, and the worst of those that shed is the pressure" do
    levels = Map.new(Enum.with_index(Levels.resources()), fn {resource, n} -> {resource, rem(n, 4)} end)
    word = Levels.word(levels, [:processes, :ports, :memory], false)
    for {resource, level} <- levels, do: assert(Levels.of(word, resource) == level)
    assert Levels.pressure(word) == 1
    assert Levels.because(word) == [:ports]
    refute Levels.advised?(word)

    all = Levels.word(Map.new(Levels.resources(), &{&1, 3}), Levels.resources(), true)
    assert all in 0..0xFFFFFFFF
    assert Levels.advised?(all)
    assert Levels.pressure(all) == 3
    assert Levels.because(all) == Levels.resources()
  end

  test "no resource is the cause of normal pressure" do
    assert Levels.because(Levels.word(%{processes: 0, atoms: 3}, [:processes], false)) == []
  end

  test "names and numbers of levels are the same" do
    for level <- 0..3, do: assert(level |> Levels.name() |> Levels.number() == level)
  end
end
