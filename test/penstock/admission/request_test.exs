defmodule Penstock.Admission.RequestTest do
  # `Penstock.Admission.Request` reads options in one pass, and unusual ones in a second pass.
  # Both passes must give the same answer as plain code, which is `plainly/3` here.
  use ExUnit.Case, async: true

  alias Penstock.Admission.Request
  alias Penstock.Options

  # Reads the options one after the other, in the plainest way.
  defp plainly(opts, timeout, known) do
    opts = Options.known!(opts, known)

    request = %Request{
      permits: Options.permits!(Keyword.get(opts, :permits, 1)),
      timeout: Options.timeout!(Keyword.get(opts, :timeout, timeout)),
      max_runtime: Options.max_runtime!(Keyword.get(opts, :max_runtime)),
      cost: Options.permits!(Keyword.get(opts, :cost, 1), ":cost")
    }

    request = %{request | keys: keys!(Keyword.get(opts, :keys, %{}))}
    if Keyword.has_key?(opts, :key), do: Request.put!(request, :key, opts[:key]), else: request
  end

  defp keys!(keys) when is_map(keys) do
    for {name, key} <- keys do
      unless is_atom(name), do: Options.expected!("each name in :keys", "the name of a limit", name)
      if key == nil, do: Penstock.Admission.KeySize.nil_key!("the key of #{inspect(name)} in :keys")
    end

    keys
  end

  defp keys!(keys), do: Options.expected!(":keys", "a map of the names of limits to keys", keys)

  defp answer(fun) do
    fun.()
  rescue
    error in ArgumentError -> Exception.message(error)
  end

  @values [
    timeout: [0, 1, 5_000, :infinity, 0x7FFF_FFFF, 0x8000_0000, -1, 1.0, nil, :never],
    permits: [1, 7, 0x7FFF_FFFF, 0x8000_0000, 0, -1, 2.0, nil, :all],
    key: [1, "key", nil, :none, false, {:key, 1}, []],
    keys: [%{}, %{A => 1, B => "b"}, %{A => nil}, %{"A" => 1}, nil, [], 17],
    cost: [1, 3, 0, nil, 0x8000_0000, "1"],
    max_runtime: [1, 60_000, nil, 0, -1, 0x8000_0000, :infinity],
    limit: [1]
  ]

  defp options, do: for({option, values} <- @values, value <- values, do: {option, value})

  defp same(opts) do
    run = [:timeout, :permits, :key, :keys, :cost]
    start = run ++ [:max_runtime]

    for timeout <- [0, 5_000] do
      assert {opts, answer(fn -> Request.start!(opts, timeout) end)} ==
               {opts, answer(fn -> plainly(opts, timeout, start) end)}

      assert {opts, answer(fn -> Request.run!(opts, timeout) end)} ==
               {opts, answer(fn -> plainly(opts, timeout, run) end)}

      assert {opts, answer(fn -> Request.wait!(opts, timeout) end)} ==
               {opts, answer(fn -> plainly(opts, timeout, [:permits, :timeout]) end)}

      assert {opts, answer(fn -> Request.turn!(opts, timeout) end)} ==
               {opts, answer(fn -> plainly(opts, timeout, [:cost, :timeout]) end)}
    end
  end

  test "one option, two in any order, and one given twice are read as by plain code" do
    same([])
    for one <- options(), do: same([one])
    for one <- options(), two <- options(), do: same([one, two])
  end

  test "many options are read as by plain code" do
    :rand.seed(:exsss, {1, 2, 3})
    for _ <- 1..5_000, do: same(Enum.take_random(options(), Enum.random(3..6)))
    valid = [timeout: 3, permits: 2, key: :k, cost: 4, max_runtime: 5]
    for _ <- 1..200, do: same(Enum.shuffle(valid))
    all = %Request{permits: 2, timeout: 3, max_runtime: 5, key: {:key, :k}, cost: 4}
    assert Request.start!(valid, 0) == all
    assert Request.run!(Keyword.delete(valid, :max_runtime), 0) == %{all | max_runtime: nil}
  end

  test "terms that are no keyword list are refused as by plain code" do
    for opts <- [:all, nil, %{}, 5, [1], [:timeout], [{:timeout, 1, 2}], [{"timeout", 1}], [{:timeout, 1} | :more], "x"] do
      same(opts)
    end
  end

  test "other options are left to the caller" do
    assert Request.start!([spawn_opt: [], timeout: 7], 0, [:spawn_opt]) == %Request{timeout: 7}

    assert_raise ArgumentError, ~r/:max_runtime, :spawn_opt/, fn ->
      Request.start!([x: 1], 0, [:spawn_opt])
    end
  end
end
