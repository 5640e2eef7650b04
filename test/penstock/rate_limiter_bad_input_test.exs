defmodule Penstock.RateLimiterBadInputTest do
  # A wrong option or argument raises an ArgumentError that names it. The limiter counts no hit.
  use Penstock.PoolCase, async: true
  import Penstock.Limiters

  alias Penstock.RateLimiter

  describe "bad input" do
    @most 2_147_483_647
    @century_ms 100 * 31_557_600_000

    test "at start raises with the option, its bounds and the value" do
      good = [name: unique_name(), limit: 1, per: 1]

      for {option, expected, values} <- [
            {:limit, "an integer between 1 and #{@most}", [0, -1, 1.5, "1", nil, :infinity, @most + 1]},
            {:burst, "an integer between 1 and #{@most}", [0, -1, 1.5, nil, @most + 1]},
            {:max_keys, "an integer between 1 and #{@most}", [0, -1, 1.5, nil, :infinity, @most + 1]},
            {:per, "a number of milliseconds between 1 and #{@century_ms}", [0, -1, 1.5, :infinity, @century_ms + 1]},
            {:clock, ":monotonic or :manual", [:real, nil, 1]},
            {:name, "an atom other than nil, true and false", [nil, "name", true]}
          ],
          value <- values do
        message = "expected #{inspect(option)} to be #{expected}, got: #{inspect(value)}"
        assert_raise ArgumentError, message, fn -> RateLimiter.start_link(Keyword.put(good, option, value)) end
      end

      for {option, opts} <- [name: [limit: 1, per: 1], limit: [name: :x, per: 1], per: [name: :x, limit: 1]] do
        message =
          "the option #{inspect(option)} is missing, such as {Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000}"

        assert_raise ArgumentError, message, fn -> RateLimiter.start_link(opts) end
      end

      assert_raise ArgumentError, fn -> RateLimiter.start_link(good ++ [size: 1]) end
      assert_raise ArgumentError, fn -> RateLimiter.start_link(:limit) end
    end

    test "is a rate above a million per second, or a burst that lasts longer than a century" do
      start = fn limit, per, burst ->
        RateLimiter.start_link(name: unique_name(), limit: limit, per: per, burst: burst, max_keys: 1)
      end

      assert {:ok, _} = start.(1_000_000, 1_000, @most)
      assert {:ok, _} = start.(1, @century_ms, 1)
      assert {:ok, _} = start.(@most, @most, 1)

      message = "expected :limit to be at most a million per second, got: [limit: 1000001, per: 1000]"
      assert_raise ArgumentError, message, fn -> start.(1_000_001, 1_000, 1) end

      message = "expected :burst to be worth a hundred years at most, got: [burst: 2, limit: 1, per: #{@century_ms}]"
      assert_raise ArgumentError, message, fn -> start.(1, @century_ms, 2) end
    end

    test "is more keys than there is memory for" do
      name = unique_name()

      # At 32 bytes each, the keys need 64 GiB. A machine with that memory starts the limiter, so
      # the test does not expect the error there.
      unless Penstock.Node.MemoryGuard.available?(32 * @most) do
        message = "not enough memory for max_keys: #{@most}, which needs #{32 * @most} bytes; lower :max_keys"

        assert_raise ArgumentError, message, fn ->
          RateLimiter.start_link(name: name, limit: 1, per: 1, max_keys: @most)
        end
      end

      assert {:ok, _} = RateLimiter.start_link(name: name, limit: 1, per: 1, max_keys: 1)
    end

    test "in a call raises with the argument and the value, and counts nothing" do
      limiter = manual(limit: 1, per: 1_000)

      for cost <- [0, -1, 1.0, nil, @most + 1] do
        message = "expected cost to be an integer between 1 and #{@most}, got: #{inspect(cost)}"
        assert_raise ArgumentError, message, fn -> RateLimiter.hit(limiter, :k, cost) end
        assert_raise ArgumentError, message, fn -> RateLimiter.hit_all([{limiter, :k, cost}]) end
        assert_raise ArgumentError, fn -> RateLimiter.acquire(limiter, :k, cost: cost) end
      end

      for call <- [
            &RateLimiter.hit/1,
            &RateLimiter.hit(&1, :k),
            &RateLimiter.peek(&1, :k),
            &RateLimiter.reset(&1, :k),
            &RateLimiter.acquire/1,
            &RateLimiter.update(&1, limit: 1),
            &RateLimiter.info/1,
            &RateLimiter.advance(&1, 1),
            &RateLimiter.hit_all([{&1, :k, 1}])
          ] do
        assert_raise ArgumentError, Penstock.PoolCase.not_running("limiter", MyApp.Nobody), fn ->
          call.(MyApp.Nobody)
        end

        for other <- ["name", 1, self(), unnamed_pool()] do
          message = "expected limiter to be the name of a limiter, got: #{inspect(other)}"
          assert_raise ArgumentError, message, fn -> call.(other) end
        end
      end

      for timeout <- [-1, 1.5, :never],
          do: assert_raise(ArgumentError, fn -> RateLimiter.acquire(limiter, :k, timeout: timeout) end)

      for ms <- [-1, 1.5, nil], do: assert_raise(ArgumentError, fn -> RateLimiter.advance(limiter, ms) end)

      for hits <- [:k, [1], [{limiter, 1}], [{limiter, 1, 1} | 2]],
          do: assert_raise(ArgumentError, fn -> RateLimiter.hit_all(hits) end)

      too_many = for n <- 1..17, do: {limiter, n, 1}
      message = ~r/^expected hits to be a list of at most 16 {limiter, key, cost}, got: \[{/
      assert_raise ArgumentError, message, fn -> RateLimiter.hit_all(too_many) end
      assert %{allowed: 0, denied: 0, keys: 0} = RateLimiter.info(limiter)
    end

    defp unnamed_pool, do: Pool.new(limit: 1)
  end
end
