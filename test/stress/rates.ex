defmodule Penstock.Stress.Rates do
  # Tests rate limiters: races for fresh keys, the pace under hammering callers, and a flood of
  # keys.
  @moduledoc false

  alias Penstock.RateLimiter

  @name __MODULE__.Limiter

  defp with_limiter(opts, fun) do
    {:ok, owner} = RateLimiter.start_link([name: @name] ++ opts)
    result = fun.()
    GenServer.stop(owner)
    result
  end

  ## Fresh keys

  @burst 3

  @doc """
  Lets 2, then 8, then 64 processes hit `keys` fresh keys. All hit the same key at the same time.

  The number of allowed hits of each key must be the burst.
  """
  def first_hits(keys) do
    Enum.reduce_while([2, 8, 64], {:ok, 0}, fn processes, {:ok, sum} ->
      case with_limiter([limit: 1, per: 1_000_000_000, burst: @burst, max_keys: 1_000_000], fn ->
             race(processes, keys)
           end) do
        0 -> {:cont, {:ok, sum + keys}}
        wrong -> {:halt, {:error, {processes, :processes, wrong, :keys_of, keys, :not_allowed_as_often_as_the_burst}}}
      end
    end)
  end

  defp race(processes, keys) do
    barrier = :atomics.new(1, [])
    allowed = :counters.new(keys, [])

    1..processes
    |> Enum.map(fn _ -> Task.async(fn -> race(1, keys, processes, barrier, allowed) end) end)
    |> Task.await_many(:infinity)

    Enum.count(1..keys, &(:counters.get(allowed, &1) != @burst))
  end

  defp race(key, keys, _processes, _barrier, _allowed) when key > keys, do: :ok

  defp race(key, keys, processes, barrier, allowed) do
    :atomics.add(barrier, 1, 1)
    arrive(barrier, key * processes)
    # Each process hits twice, so that two processes are enough to exceed the burst.
    for _ <- 1..2, match?({:allow, _}, RateLimiter.hit(@name, {:fresh, key})), do: :counters.add(allowed, key, 1)
    race(key + 1, keys, processes, barrier, allowed)
  end

  # Waits until all processes have come to the same key.
  defp arrive(barrier, count) do
    if :atomics.get(barrier, 1) < count do
      :erlang.yield()
      arrive(barrier, count)
    end
  end

  ## Pace

  @doc """
  Lets four processes hammer a limiter for `ms` ms.

  The limiter must allow as many hits as the passed time permits. A metered build is too slow for
  the rate of a million hits a second, so it leaves out that rate.
  """
  def pace(ms, metered?) do
    slow = [{[limit: 100, per: 1_000, burst: 10], 1}, {[limit: 1, per: 10_000, burst: 1], 1}]
    fast = if metered?, do: [], else: [{[limit: 1_000_000, per: 1_000, burst: 100_000], 1_000 * ms / 1_000}]
    rates = slow ++ fast

    problems = for {rate, margin} <- rates, problem = pace_of(rate, ms, margin), do: problem
    # Also tests ten days, which a manual clock passes in a moment.
    problems = problems ++ List.wrap(day())
    turns = for rate <- [50, 200, 400, 1_000, 2_000, 5_000, 10_000], callers <- [1, 8, 50], do: {rate, callers}
    problems = problems ++ for {rate, callers} <- turns, problem = turns(rate, callers), do: problem
    if problems == [], do: {:ok, length(rates) + 1 + length(turns)}, else: {:error, problems}
  end

  defp pace_of(rate, ms, margin) do
    {allowed, lasted} = with_limiter(rate, fn -> hammer(ms) end)
    permitted = rate[:burst] + lasted / 1_000 * rate[:limit] / rate[:per]

    IO.puts(
      "  #{rate[:limit]} per #{rate[:per]} ms, burst #{rate[:burst]}: #{allowed} allowed in #{lasted / 1_000} ms, of #{permitted} permitted"
    )

    if abs(allowed - permitted) > margin + 1, do: {rate, allowed, permitted}
  end

  defp hammer(ms) do
    began = now_us()
    tasks = for _ <- 1..4, do: Task.async(fn -> hammer(began + ms * 1_000, 0) end)
    {counts, lasts} = tasks |> Task.await_many(:infinity) |> Enum.unzip()
    {Enum.sum(counts), Enum.max(lasts) - began}
  end

  # Hits until the time `until`, and then until a denial, so that every hit that the passed time
  # permits is made.
  defp hammer(until, allowed) do
    now = now_us()

    case RateLimiter.hit(@name, "key") do
      # Gives up 5 s after `until`: a machine that is too slow to use up the allowed hits never
      # gets a denial.
      {:allow, _} when now > until + 5_000_000 -> {allowed + 1, now}
      {:allow, _} -> hammer(until, allowed + 1)
      {:deny, _} when now > until -> {allowed, now}
      {:deny, _} -> hammer(until, allowed)
    end
  end

  ## Turns

  # The share of the rate that callers must reach.
  @least_reached 0.95

  # The most rounds for one rate. The best of them counts, because the machine may stall the
  # callers of a round. Callers that it stalls for 4 ms lose the turns of that time.
  @rounds 20
  # The least number of turns in a round. The last turn can be 1 ms late, so the round must be
  # much longer than 1 ms.
  @least_turns 40

  # Callers wait for their turns at a limiter with a burst of one. Together the callers must reach
  # the rate of the limiter, and must never exceed it.
  defp turns(rate, callers) do
    each = max(div(max(div(rate, 50), @least_turns), callers), 2)

    reached =
      Enum.reduce_while(1..@rounds, 0, fn _, best ->
        reached = max(round(rate, callers, each), best)
        {if(reached < @least_reached, do: :cont, else: :halt), reached}
      end)

    IO.puts("  #{callers} wait for turns at #{rate} per s, burst 1: #{Float.round(reached * 100, 1)} % of the rate")
    if reached < @least_reached or reached > 1, do: {:turns, rate, callers, reached}
  end

  defp round(rate, callers, each) do
    with_limiter([limit: rate, per: 1_000, burst: 1], fn ->
      began = System.monotonic_time(:nanosecond)
      :ok = RateLimiter.acquire(@name)

      1..callers
      |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..each, do: :ok = turn() end) end)
      |> Task.await_many(:infinity)

      # The first turn, above, came at once. Each other turn came an interval after the turn
      # before it. Returns the time that these intervals should take, divided by the time that
      # they took.
      callers * each * 1_000_000_000 / rate / (System.monotonic_time(:nanosecond) - began)
    end)
  end

  defp turn, do: RateLimiter.acquire(@name, :global, timeout: :infinity)

  defp now_us, do: System.monotonic_time(:microsecond)

  # Hits a limiter of one hit a day once an hour, for ten days of a manual clock.
  defp day do
    with_limiter([limit: 1, per: 86_400_000, clock: :manual], fn ->
      hits =
        for hour <- 0..240 do
          if hour > 0, do: RateLimiter.advance(@name, 3_600_000)
          {hour, elem(RateLimiter.hit(@name), 0)}
        end

      allowed = for {hour, :allow} <- hits, do: hour
      IO.puts("  1 per day, asked each hour of ten days: allowed at #{inspect(allowed)}")
      if allowed != Enum.map(0..10, &(&1 * 24)), do: {:day, allowed}
    end)
  end

  ## A flood of keys

  @offenders 1_000
  @blocks 20
  @most_grown_mb 8

  @doc """
  Hits each of `keys` keys once. The limiter has places for a tenth of these keys.

  Before the flood, 1,000 other keys, the offenders, use up their bursts. They must stay limited.
  """
  def flood(keys) do
    # A key of the flood expires after 100 ms, which frees its place. An offender uses up its
    # whole burst of 10,000 hits, so it stays limited for 1,000 s.
    with_limiter([limit: 1, per: 100, burst: 10_000, max_keys: div(keys, 10)], fn ->
      for n <- 1..@offenders, do: {:allow, 0} = RateLimiter.hit(@name, {:offender, n}, 10_000)
      %{memory: memory} = RateLimiter.info(@name)
      per_block = div(keys, @blocks)
      # The first block grows the heaps before the memory is measured.
      flood_block(0, per_block)
      before = resident()

      blocks =
        for block <- 1..@blocks do
          p99 = flood_block(block * per_block, per_block)
          # Counts the offenders that are still limited. The hit of a forgotten one would be
          # allowed.
          limited = Enum.count(1..@offenders, &match?({:deny, _}, RateLimiter.hit(@name, {:offender, &1}, 10_000)))
          {p99, limited, (resident() - before) / 1_000_000, RateLimiter.info(@name).memory}
        end

      {p99s, limited, grown, memories} = unzip(blocks)
      {lowest, highest} = Enum.min_max(grown)
      # The growth up to a block counts from the lowest value until then. The VM may release
      # memory of earlier tests during the flood. That release must not hide growth.
      growth = grown |> Enum.scan(&min/2) |> Enum.zip_with(grown, &(&2 - &1)) |> Enum.max()
      IO.puts("  p99 of each #{per_block} hits, in ns: #{Enum.join(p99s, " ")}")

      IO.puts(
        "  resident memory against before: #{lowest} to #{highest} MB; memory #{Enum.uniq(memories) |> inspect()}"
      )

      # Takes the median of the p99s in each quarter of the flood. The last of these medians must
      # be at most 1.5 times the first.
      [first | _] = quarters = p99s |> Enum.chunk_every(div(@blocks, 4)) |> Enum.map(&median/1)

      cond do
        Enum.uniq(limited) != [@offenders] -> {:error, {:offenders_limited, limited}}
        Enum.uniq(memories) != [memory] -> {:error, {:memory, memory, memories}}
        growth > @most_grown_mb or highest > @most_grown_mb -> {:error, {:resident, lowest, highest}}
        List.last(quarters) > 1.5 * first -> {:error, {:p99, quarters}}
        true -> {:ok, keys}
      end
    end)
  end

  defp unzip(blocks) do
    {for({a, _, _, _} <- blocks, do: a), for({_, b, _, _} <- blocks, do: b), for({_, _, c, _} <- blocks, do: c),
     for({_, _, _, d} <- blocks, do: d)}
  end

  # Hits `count` keys in a new process, whose heap is freed when the process ends. Returns the p99
  # of the times of the hits, in ns.
  defp flood_block(from, count) do
    Task.async(fn ->
      latencies = for n <- 1..count, ns = hit(from + n), do: ns
      latencies |> Enum.sort() |> Enum.at(div(length(latencies) * 99, 100))
    end)
    |> Task.await(:infinity)
  end

  # Times one hit in 32; returns nil for the others.
  defp hit(n) when rem(n, 32) == 0 do
    began = System.monotonic_time(:nanosecond)
    RateLimiter.hit(@name, <<n::128>>)
    System.monotonic_time(:nanosecond) - began
  end

  defp hit(n) do
    RateLimiter.hit(@name, <<n::128>>)
    nil
  end

  defp median(list), do: list |> Enum.sort() |> Enum.at(div(length(list), 2))

  defp resident do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    [_, kilobytes] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1024
  end
end
