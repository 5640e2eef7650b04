defmodule Penstock.Admission.RequestTest do
  # Options are read in one pass, and in a second one if anything is unusual: both must agree.
  use ExUnit.Case, async: true

  alias Penstock.Options
  alias Penstock.Admission.Keyed
  alias Penstock.Admission.Request

  # As they were read one after the other.
  defp plainly(opts, timeout, known) do
    opts = Options.known!(opts, known)

    {Options.permits!(Keyword.get(opts, :permits, 1)), Options.timeout!(Keyword.get(opts, :timeout, timeout)),
     Options.max_runtime!(Keyword.get(opts, :max_runtime)), Keyed.hit!(opts)}
  end

  defp answer(fun) do
    fun.()
  rescue
    error in ArgumentError -> Exception.message(error)
  end

  @values [
    timeout: [0, 1, 5_000, :infinity, 0x7FFF_FFFF, 0x8000_0000, -1, 1.0, nil, :never],
    permits: [1, 7, 0x7FFF_FFFF, 0x8000_0000, 0, -1, 2.0, nil, :all],
    key: [1, "key", nil, :none, false, {:key, 1}, []],
    cost: [1, 3, 0, nil, 0x8000_0000, "1"],
    max_runtime: [1, 60_000, nil, 0, -1, 0x8000_0000, :infinity],
    limit: [1]
  ]

  defp options, do: for({option, values} <- @values, value <- values, do: {option, value})

  defp same(opts) do
    start = [:timeout, :permits, :max_runtime, :key, :cost]
    run = start -- [:max_runtime]

    for timeout <- [0, 5_000] do
      assert {opts, answer(fn -> Request.of_start!(opts, timeout) end)} ==
               {opts, answer(fn -> plainly(opts, timeout, start) end)}

      expected = answer(fn -> plainly(opts, timeout, run) end)
      expected = with {permits, timeout, nil, hit} <- expected, do: {permits, timeout, hit}
      assert {opts, answer(fn -> Request.of_run!(opts, timeout) end)} == {opts, expected}
    end
  end

  test "of one option, and of two in any order, also of one that is given twice" do
    same([])
    for one <- options(), do: same([one])
    for one <- options(), two <- options(), do: same([one, two])
  end

  test "of many" do
    :rand.seed(:exsss, {1, 2, 3})
    for _ <- 1..5_000, do: same(Enum.take_random(options(), Enum.random(3..6)))
    valid = [timeout: 3, permits: 2, key: :k, cost: 4, max_runtime: 5]
    for _ <- 1..200, do: same(Enum.shuffle(valid))
    assert Request.of_start!(valid, 0) == {2, 3, 5, {{:key, :k}, 4}}
    assert Request.of_run!(Keyword.delete(valid, :max_runtime), 0) == {2, 3, {{:key, :k}, 4}}
  end

  test "of what is no keyword list" do
    for opts <- [:all, nil, %{}, 5, [1], [:timeout], [{:timeout, 1, 2}], [{"timeout", 1}], [{:timeout, 1} | :more], "x"] do
      same(opts)
    end
  end

  test "other options are left to the caller" do
    known = [:timeout, :spawn_opt]
    assert Request.of_start!([spawn_opt: [], timeout: 7], 0, known) == {1, 7, nil, {:none, 1}}

    assert_raise ArgumentError, ~r/^expected options to be among :timeout, :spawn_opt/, fn ->
      Request.of_start!([x: 1], 0, known)
    end
  end
end
