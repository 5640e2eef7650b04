defmodule Penstock.RateLimiterUpdateTest do
  # Tests a change of the rate by `update/2`. An update takes several native calls, and calls of
  # other processes can come between them.
  #
  # | scenario                            | rules out                                        |
  # |-------------------------------------|--------------------------------------------------|
  # | keys with debts, several updates    | a debt that is lost, or not cut to the new burst |
  # | four updaters, all three values     | a final value that no last update has set        |
  # | four updaters and a hitter          | an updater or a hitter that makes no progress    |
  # | an updater killed between two calls | a half-made update that blocks the next update   |
  # | one updater for each option         | an update that resets the option of another one  |
  # | a limit too high for the kept `per` | a check of the new value without the kept values |
  use Penstock.PoolCase, async: true
  import Penstock.Limiters

  alias Penstock.RateLimiter

  describe "update/2" do
    test "keeps the debt of each key in ms, cut to the new burst" do
      limiter = manual(limit: 10, per: 1_000, burst: 10, max_keys: 20_000)
      for n <- 1..10_000, do: {:allow, 2} = RateLimiter.hit(limiter, n, 8)
      {:allow, 2} = RateLimiter.hit(limiter, :global, 8)
      # The debt is 800 ms. The new burst, 3 hits at 5 per second, cuts it to 600 ms.
      :ok = RateLimiter.update(limiter, limit: 5, burst: 3)
      assert %{limit: 5, per: 1_000, burst: 3, keys: 10_000} = RateLimiter.info(limiter)
      for key <- [:global, 1, 10_000], do: assert(RateLimiter.hit(limiter, key) == {:deny, 200})
      RateLimiter.advance(limiter, 200)
      :ok = RateLimiter.update(limiter, limit: 10)
      :ok = RateLimiter.update(limiter, per: 2_000, burst: 2)
      # The update to `limit: 10` has cut the debt of 400 ms to 300 ms: 3 hits at 10 per second.
      for key <- [:global, 2, 9_999], do: assert(RateLimiter.hit(limiter, key) == {:deny, 100})
      RateLimiter.advance(limiter, 300)
      for key <- [:global, 3], do: assert(RateLimiter.hit(limiter, key, 2) == {:allow, 0})
      assert RateLimiter.info(limiter).keys == 1
    end

    test "by four processes at once leaves values of their last updates in force" do
      limiter = start(limit: 1, per: 1_000, max_keys: 20_000)
      for n <- 1..5_000, do: RateLimiter.hit(limiter, n)

      for n <- 1..4 do
        Task.async(fn -> for m <- 1..20, do: :ok = RateLimiter.update(limiter, limit: n, burst: n, per: m) end)
      end
      |> Task.await_many()

      info = RateLimiter.info(limiter)
      # Each updater sets a burst equal to its limit. A rate mixed from two updates would differ.
      assert info.limit in 1..4 and info.burst == info.limit and info.per == 20
    end

    @updaters 4
    # The number of updates, by all updaters together, after which the test stops them.
    @updates 400

    test "by four processes at once starves no updater and no hit" do
      # A table for a million keys has two million places. An update walks over these places in
      # some 500 native calls. Other updates come between two of the calls.
      limiter = start(limit: 1_000, per: 1_000, burst: 1_000, max_keys: 1_000_000)
      stop = :atomics.new(1, [])
      made = :counters.new(@updaters, [])

      updaters =
        for updater <- 1..@updaters do
          Task.async(fn -> update_until(stop, limiter, made, updater) end)
        end

      hitter = Task.async(fn -> hit_until(stop, limiter, 0) end)
      await_updates(made)
      counts = for updater <- 1..@updaters, do: :counters.get(made, updater)
      :atomics.put(stop, 1, 1)
      Task.await_many(updaters, patience(30_000))
      assert Enum.min(counts) * 5 >= Enum.max(counts), inspect(counts, charlists: :as_lists)
      assert Task.await(hitter, patience(30_000)) > 0
    end

    defp await_updates(made) do
      if Enum.sum(for updater <- 1..@updaters, do: :counters.get(made, updater)) < @updates do
        receive after: (1 -> :ok)
        await_updates(made)
      end
    end

    defp update_until(stop, limiter, made, updater) do
      if :atomics.get(stop, 1) == 0 do
        :ok = RateLimiter.update(limiter, burst: 1_000 + updater * 1_000 + rem(:counters.get(made, updater), 500))
        :counters.add(made, updater, 1)
        update_until(stop, limiter, made, updater)
      end
    end

    defp hit_until(stop, limiter, count) do
      RateLimiter.hit(limiter, count)
      if :atomics.get(stop, 1) == 0, do: hit_until(stop, limiter, count + 1), else: count
    end

    # The test makes only the first native call of an update, like an updater that is killed
    # halfway. The values of that update are in force. So the values of the next update must go
    # together with them.
    test "whose updater is killed halfway does not block the next update" do
      limiter = start(limit: 10, per: 1_000, burst: 10, max_keys: 100_000)
      RateLimiter.update(limiter, burst: 5)
      century = 100 * 31_557_600_000
      {_, _, _} = Penstock.Native.rate_update(limiter, 10, century, 10, nil)
      # At ten hits in a century, a burst of 11 lasts longer than a century.
      assert_raise ArgumentError, ~r/expected :burst/, fn -> RateLimiter.update(limiter, burst: 11) end
      assert %{per: ^century, burst: 10} = RateLimiter.info(limiter)
      assert RateLimiter.update(limiter, per: 1_000) == :ok
      assert RateLimiter.update(limiter, burst: 11) == :ok
    end

    test "of one option keeps the values that concurrent updates of other options set" do
      limiter = start(limit: 1, per: 1_000, burst: 1, max_keys: 10_000)

      for option <- [:limit, :burst, :per] do
        Task.async(fn -> for n <- 1..50, do: :ok = RateLimiter.update(limiter, [{option, 1_000 + n}]) end)
      end
      |> Task.await_many()

      assert %{limit: 1_050, burst: 1_050, per: 1_050} = RateLimiter.info(limiter)
    end

    test "checks the new values together with those that stay" do
      limiter = manual(limit: 1_000, per: 1)
      message = "expected :limit to be at most a million per second, got: [limit: 1001, per: 1]"
      assert_raise ArgumentError, message, fn -> RateLimiter.update(limiter, limit: 1_001) end
      assert_raise ArgumentError, fn -> RateLimiter.update(limiter, max_keys: 5) end
      assert RateLimiter.info(limiter).limit == 1_000
    end
  end
end
