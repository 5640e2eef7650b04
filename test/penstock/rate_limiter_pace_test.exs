defmodule Penstock.RateLimiterPaceTest do
  # Tests the pace at which waiting callers get their turns. No other test runs at the same time,
  # because a caller needs a processor when its turn comes.
  use Penstock.PoolCase, async: false

  alias Penstock.RateLimiter

  # Turns per second.
  @rate 5_000

  # The test allows a median gap between two turns of up to 5 % above the interval of the rate.
  # Single gaps can be much longer: a timer is up to 1 ms late, which is five turns, and a busy
  # machine stops a caller for some ms. Few gaps are that long, so the median stays near the
  # interval.
  @tolerance 1.05
  # A caller that gets its turns in bunches, with long gaps between the bunches, also has a small
  # median gap. So the test also measures stretches of this number of turns. It compares their
  # lower quartile, because the machine does not interrupt the fastest quarter of the stretches.
  @stretch 5

  test "waiting callers reach the rate, and never exceed it" do
    for callers <- [1, 8] do
      limiter = unique_name()
      start_supervised!({RateLimiter, name: limiter, limit: @rate, per: 1_000, burst: 1}, id: limiter)
      began = System.monotonic_time(:nanosecond)
      :ok = RateLimiter.acquire(limiter)
      turns = for _ <- 1..callers, do: Task.async(fn -> turns(limiter, div(2_000, callers)) end)
      times = turns |> Task.await_many(patience(60_000)) |> List.flatten() |> Enum.sort()
      interval = div(1_000_000_000, @rate)

      # The n-th turn after the first comes at least n intervals after `began`.
      for {time, n} <- Enum.with_index(times, 1), do: assert(time - began >= n * interval)

      assert gap(times, 0.5) <= @tolerance * interval

      if callers == 1,
        do: assert(gap(Enum.take_every(times, @stretch), 0.25) <= @tolerance * @stretch * interval)
    end
  end

  # Returns the quantile `part` of the gaps between `times`.
  defp gap(times, part) do
    gaps = times |> Enum.chunk_every(2, 1, :discard) |> Enum.map(fn [one, next] -> next - one end) |> Enum.sort()
    Enum.at(gaps, floor(part * length(gaps)))
  end

  defp turns(limiter, n) do
    for _ <- 1..n do
      :ok = RateLimiter.acquire(limiter, :global, timeout: :infinity)
      System.monotonic_time(:nanosecond)
    end
  end
end
