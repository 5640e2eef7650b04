defmodule Penstock.RateLimiterAcquireTest do
  # Callers that wait for their turn, which is the time when the rate allows their hit.
  # rate_limiter_pace_test.exs tests the pace of the turns.
  use Penstock.PoolCase, async: true
  import Penstock.Limiters

  alias Penstock.RateLimiter

  describe "acquire/3" do
    test "reserves the next turn if it comes within the timeout" do
      limiter = manual(limit: 10, per: 1_000, burst: 2)
      for key <- [:global, "k"], _ <- 1..2, do: assert(RateLimiter.acquire(limiter, key) == :ok)
      assert RateLimiter.acquire(limiter, "k", timeout: 0) == {:error, {:rate_limited, 100}}
      assert RateLimiter.acquire(limiter, "k", cost: 2, timeout: 199) == {:error, {:rate_limited, 200}}
      assert RateLimiter.acquire(limiter, "k", cost: 3, timeout: :infinity) == {:error, {:rate_limited, :infinity}}
      # The refused requests have reserved nothing.
      assert RateLimiter.peek(limiter, "k") == {:deny, 100}
      assert RateLimiter.acquire(limiter, "k", timeout: 100) == :ok
      assert RateLimiter.peek(limiter, "k") == {:deny, 200}
    end

    test "gives waiting callers their turns in order, and none early" do
      limiter = start(limit: 100, per: 1_000, burst: 1)
      parent = self()
      began = System.monotonic_time(:microsecond)

      for n <- 1..20 do
        spawn_link(fn -> send(parent, {n, RateLimiter.acquire(limiter), System.monotonic_time(:microsecond)}) end)
        # Waits until this caller has reserved its turn, so that the next caller asks after it.
        eventually(fn -> RateLimiter.info(limiter).allowed == n end)
      end

      left = for n <- 1..20, do: receive(do: ({^n, :ok, at} -> {n, at - began}))
      # The turns are 10 ms apart. No caller returns more than 1 ms before its turn. The test sets
      # no bound on a late return, because that depends on the machine.
      for {n, after_us} <- left, do: assert(after_us >= (n - 1) * 10_000 - 1_000)
    end

    test "wastes the turn of a caller that dies while it waits" do
      limiter = start(limit: 1, per: 60_000)
      :ok = RateLimiter.acquire(limiter)
      pid = spawn(fn -> RateLimiter.acquire(limiter, :global, timeout: :infinity) end)
      eventually(fn -> RateLimiter.info(limiter).allowed == 2 end)
      kill(pid)
      {:error, {:rate_limited, ms}} = RateLimiter.acquire(limiter)
      assert ms > 110_000
    end

    test "leaves other messages in the mailbox" do
      limiter = start(limit: 100, per: 1_000, burst: 1)
      for n <- 1..3, do: send(self(), n)
      for _ <- 1..3, do: assert(RateLimiter.acquire(limiter) == :ok)
      assert mailbox() == [1, 2, 3]
    end
  end

  describe "acquire/3 of a limiter with a burst of one" do
    test "sleeps until about 1 ms before its turn" do
      limiter = start(limit: 1_000, per: 1_000, burst: 1)
      # Another process reserves 50 turns, 1 ms apart. The test process gets the turn after them.
      pid =
        spawn(fn -> for _ <- 1..50, do: Penstock.Native.rate_reserve(limiter, :global, 1, :infinity, :not_measured) end)

      monitor = Process.monitor(pid)
      assert_receive {:DOWN, ^monitor, _, _, _}
      {_, before} = Process.info(self(), :reductions)
      assert RateLimiter.acquire(limiter) == :ok
      {_, later} = Process.info(self(), :reductions)

      # The caller is awake only for about the last ms. Without the sleep, the other 49 ms would
      # take millions of reductions.
      assert later - before < 200_000
    end
  end

  describe "acquire/3 of a new key in a full table" do
    test "waits until a place is free" do
      limiter = start(limit: 20, per: 1_000, burst: 1, max_keys: 1)
      began = System.monotonic_time(:millisecond)
      for n <- 1..3, do: assert(RateLimiter.acquire(limiter, n, timeout: 60_000) == :ok)
      # The second key and the third each waited 50 ms for the only place.
      assert System.monotonic_time(:millisecond) - began >= 100
      assert %{allowed: 3, denied: 0} = RateLimiter.info(limiter)
    end

    test "is refused at once if no place is free in time" do
      limiter = manual(limit: 1, per: 60_000, max_keys: 1)
      :ok = RateLimiter.acquire(limiter, 1)
      assert RateLimiter.acquire(limiter, 2, timeout: 59_999) == {:error, {:rate_limited, 60_000}}
      assert RateLimiter.acquire(limiter, 2, cost: 2, timeout: :infinity) == {:error, {:rate_limited, :infinity}}
    end
  end
end
