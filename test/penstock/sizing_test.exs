defmodule Penstock.SizingTest do
  use ExUnit.Case, async: true

  doctest Penstock.Sizing

  alias Penstock.Sizing

  # The sum that defines Erlang B, without the recurrence that the module uses.
  defp erlang_b(limit, load) do
    terms = Enum.scan(1..limit, 1.0, fn n, term -> term * load / n end)
    List.last(terms) / (1.0 + Enum.sum(terms))
  end

  test "the part that is refused is that of the sum of Erlang" do
    for load <- [1, 3, 8, 20, 70], limit <- [1, 2, 5, 10, 40, 100] do
      expected = erlang_b(limit, load)
      refused = Sizing.refused(limit, rate: load, hold: 1_000)
      assert_in_delta refused, expected, 1.0e-9 + expected * 1.0e-9
    end
  end

  test "published figures" do
    # Two permits, one in use: a third of the callers waits, and a fifth is refused.
    assert_in_delta Sizing.waits(2, rate: 1, hold: 1_000).waiting, 1 / 3, 1.0e-12
    assert_in_delta Sizing.refused(2, rate: 1, hold: 1_000), 0.2, 1.0e-12
    # One permit: the wait is use / (1 - use) holds.
    assert_in_delta Sizing.waits(1, rate: 80, hold: 10).mean, 40.0, 1.0e-9
  end

  # Serves callers in their order, each by the permit that is free first.
  defp simulate(limit, rate, hold, callers) do
    :rand.seed(:exsss, {1, 2, 3})
    free = for n <- 1..limit, do: {0.0, n}

    {waits, _now, _free} =
      Enum.reduce(1..callers, {[], 0.0, :gb_sets.from_list(free)}, fn _caller, {waits, now, free} ->
        now = now + exponential(1_000 / rate)
        {{at, n}, free} = :gb_sets.take_smallest(free)
        start = max(at, now)
        {[start - now | waits], now, :gb_sets.add({start + exponential(hold), n}, free)}
      end)

    Enum.sort(waits)
  end

  defp exponential(mean), do: -mean * :math.log(1.0 - :rand.uniform())

  test "a simulation of callers waits as the figures say" do
    callers = 200_000

    for limit <- [11, 12, 15] do
      simulated = simulate(limit, 180, 50, callers)
      waits = Sizing.waits(limit, rate: 180, hold: 50)
      assert_in_delta Enum.sum(simulated) / callers, waits.mean, waits.mean * 0.1
      assert_in_delta Enum.count(simulated, &(&1 > 0)) / callers, waits.waiting, 0.02
      assert_in_delta Enum.at(simulated, round(callers * 0.95)), waits.p95, waits.p95 * 0.1 + 0.5
      assert_in_delta Enum.at(simulated, round(callers * 0.99)), waits.p99, waits.p99 * 0.1 + 0.5
    end
  end

  test "the least limit meets its goal, and the next smaller one does not" do
    for rate <- [1, 40, 900], hold <- [1, 250], wait <- [0.1, 5, 300] do
      limit = Sizing.limit(rate: rate, hold: hold, wait: wait)
      assert Sizing.waits(limit, rate: rate, hold: hold).mean <= wait
      # :infinity is larger than any number.
      if limit > 1, do: assert(Sizing.waits(limit - 1, rate: rate, hold: hold).mean > wait)
    end

    for rate <- [1, 40, 900], refused <- [0.5, 0.01, 1.0e-6] do
      limit = Sizing.limit(rate: rate, hold: 100, refused: refused)
      assert Sizing.refused(limit, rate: rate, hold: 100) <= refused
      if limit > 1, do: assert(Sizing.refused(limit - 1, rate: rate, hold: 100) > refused)
    end
  end

  test "the largest and the smallest loads are computed" do
    assert Sizing.limit(rate: 1_000_000, hold: 1_000, wait: 1) in 1_000_000..1_010_000
    assert Sizing.limit(rate: 0.001, hold: 0.001, wait: 1) == 1
    assert Sizing.refused(2_147_483_647, rate: 200, hold: 50) == 0.0
    assert Sizing.waits(2_147_483_647, rate: 200, hold: 50).p99 == 0.0
    assert Sizing.table(rate: 0.001, hold: 0.001) =~ "limit"
    assert Sizing.table(rate: 1_000_000, hold: 1_000) =~ "1000001"
  end

  test "the VM gets the next power of two, with half of the processes free" do
    one = [others: 0, per_permit: 1]
    assert Sizing.process_limit([1_048_576], one) == 2_097_152
    assert Sizing.process_limit([1_048_577], one) == 4_194_304
    assert Sizing.process_limit([1_048_576, 1], one) == 4_194_304
    assert Sizing.process_limit([60_000_000], one) == 134_217_727
    assert Sizing.process_limit([67_108_864], one) == 134_217_727
    assert Sizing.process_limit([1_048_576]) == Sizing.process_limit([1_048_576], others: 1_000, per_permit: 2)
    # A flag below the VM's default would take processes away.
    assert Sizing.process_limit([]) == Sizing.process_limit([14, 500])
    assert Sizing.process_limit([]) in [262_144, 1_048_576]

    assert_raise ArgumentError, ~r/at most 134217727 processes.*got: 67108865/, fn ->
      Sizing.process_limit([67_108_865], one)
    end
  end

  test "bad options name the option and show the value" do
    for {text, fun} <- [
          {"the option :rate is missing", fn -> Sizing.in_use(hold: 1) end},
          {"the option :hold is missing", fn -> Sizing.in_use(rate: 1) end},
          {"expected :rate to be a number above 1.0e-9 and below 1.0e15, got: 0",
           fn -> Sizing.in_use(rate: 0, hold: 1) end},
          {"expected :hold to be a number above 1.0e-9 and below 1.0e15, got: \"1\"",
           fn -> Sizing.in_use(rate: 1, hold: "1") end},
          {"expected :rate to be a number above 1.0e-9 and below 1.0e15, got: #Integer<",
           fn ->
             Sizing.in_use(rate: Integer.pow(10, 400), hold: 1)
           end},
          {"at most 1000000 permits in use, got: 2000000 a second",
           fn -> Sizing.table(rate: 2_000_000, hold: 1_000) end},
          {"unknown option :waits, did you mean :wait?", fn -> Sizing.limit(rate: 1, hold: 1, waits: 1) end},
          {"one of the options :wait and :refused is missing", fn -> Sizing.limit(rate: 1, hold: 1) end},
          {":wait and :refused exclude each other", fn -> Sizing.limit(rate: 1, hold: 1, wait: 1, refused: 0.1) end},
          {"expected :wait to be a number above 1.0e-9 and below 1.0e15, got: -1",
           fn -> Sizing.limit(rate: 1, hold: 1, wait: -1) end},
          {"above 0 and below 1, got: 1", fn -> Sizing.limit(rate: 1, hold: 1, refused: 1) end},
          {"expected limit to be an integer", fn -> Sizing.waits(0, rate: 1, hold: 1) end},
          {"expected limit to be an integer", fn -> Sizing.refused(1.5, rate: 1, hold: 1) end},
          {"the option :memory is missing", fn -> Sizing.fit(per_process: 1) end},
          {"expected :per_process to be a positive number of bytes, got: 0",
           fn ->
             Sizing.fit(memory: 1, per_process: 0)
           end},
          {"expected limits to be a list, got: 5", fn -> Sizing.process_limit(5) end},
          {"expected each limit to be an integer from 0 to 2147483647, got: :infinity",
           fn ->
             Sizing.process_limit([1, :infinity])
           end},
          {"expected each limit to be an integer from 0 to 2147483647, got: #Integer<",
           fn -> Sizing.process_limit([Integer.pow(2, 800_000)]) end},
          {"expected :others to be an integer from 0 to 2147483647, got: -1",
           fn -> Sizing.process_limit([], others: -1) end}
        ] do
      error = assert_raise ArgumentError, fun
      assert error.message =~ text
    end
  end

  test "the table has a row for each limit, from the first that keeps up" do
    [_titles, first | rows] = [rate: 200, hold: 50] |> Sizing.table() |> String.split("\n")
    assert first =~ ~r/^ +11 +91 % +\d+\.\d % +\d+\.\d ms +\d+ ms +\d+\.\d\d %$/
    assert length(rows) in 4..9
    assert List.last(rows) =~ ~r/ 0\.\d % /
  end
end
