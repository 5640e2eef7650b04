defmodule Penstock.Test.StartGateTest do
  # Tests that start_gate!/2 starts a gate of each kind, which ends with its test.
  use ExUnit.Case, async: true

  import Penstock.Test
  alias Penstock.Pool

  @opts [
    pool: [limit: 1],
    keyed_pool: [limit: 1],
    rate_limiter: [limit: 1, per: 1_000],
    ban: [failures: 1],
    dynamic_supervisor: [limit: 1],
    task_supervisor: [limit: 1]
  ]

  test "starts each kind under a name of its own" do
    names = for {kind, opts} <- @opts, _ <- 1..2, do: start_gate!(kind, opts)
    gate = start_gate!(:gate, limits: [hd(names)])
    assert Enum.uniq(names) == names
    assert [gate | names] -- Enum.map(Penstock.list(), & &1.name) == []
    assert {:ok, 1} = Penstock.run(gate, fn -> 1 end)
  end

  for n <- 1..2 do
    test "a given name is free for the next test: #{n}" do
      assert start_gate!(:pool, name: MyApp.OfOneTest, limit: unquote(n)) == MyApp.OfOneTest
      assert Pool.info(MyApp.OfOneTest).in_use == 0
      :ok = Pool.acquire(MyApp.OfOneTest)
    end
  end

  test "bad arguments" do
    assert_raise ArgumentError, ~r/expected kind to be :pool or :keyed_pool or .*, got: :pol/, fn ->
      start_gate!(:pol, [])
    end

    assert_raise ArgumentError, "expected options to be a keyword list, got: 1", fn -> start_gate!(:pool, 1) end

    assert_raise RuntimeError, ~r/expected :limit to be a non-negative integer or :infinity, got: -1/, fn ->
      start_gate!(:pool, limit: -1)
    end
  end
end
