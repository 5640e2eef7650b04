defmodule Penstock.RateLimiterTest do
  use Penstock.PoolCase, async: true
  import Penstock.Limiters

  doctest Penstock.RateLimiter

  alias Penstock.RateLimiter

  describe "hit/3" do
    test "allows a burst, and then one for each interval" do
      limiter = manual(limit: 10, per: 1_000, burst: 3)

      for key <- [:global, "key"] do
        assert hits(limiter, key, 4) == [{:allow, 2}, {:allow, 1}, {:allow, 0}, {:deny, 100}]
      end

      RateLimiter.advance(limiter, 100)
      for key <- [:global, "key"], do: assert(hits(limiter, key, 2) == [{:allow, 0}, {:deny, 100}])
      RateLimiter.advance(limiter, 250)
      for key <- [:global, "key"], do: assert(hits(limiter, key, 3) == [{:allow, 1}, {:allow, 0}, {:deny, 50}])
      RateLimiter.advance(limiter, 1_000_000)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(limiter, key) == {:allow, 2})
    end

    test "without a key hits the key :global" do
      limiter = manual(limit: 2, per: 1_000)
      assert RateLimiter.hit(limiter) == {:allow, 1}
      assert RateLimiter.hit(limiter, :global) == {:allow, 0}
      assert RateLimiter.hit(limiter, :global, 1) == {:deny, 500}
      assert RateLimiter.hit(limiter) == {:deny, 500}
      assert RateLimiter.hit(limiter, :other) == {:allow, 1}
    end

    test "charges its cost, and nothing if it is denied" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)
      assert RateLimiter.hit(limiter, :a, 3) == {:allow, 2}
      assert RateLimiter.hit(limiter, :a, 3) == {:deny, 100}
      assert RateLimiter.hit(limiter, :a, 5) == {:deny, 300}
      assert RateLimiter.hit(limiter, :a, 6) == {:deny, :infinity}
      assert RateLimiter.hit(limiter, :a, 2_147_483_647) == {:deny, :infinity}
      assert RateLimiter.hit(limiter, :a, 2) == {:allow, 0}
    end

    test "returns when to try again, exact to the ms" do
      for {limit, per, burst} <- [{1, 1, 1}, {3, 1_000, 1}, {7, 1_000, 4}, {1_000_000, 1_000, 5}, {1, 86_400_000, 1}] do
        limiter = manual(limit: limit, per: per, burst: burst)

        for cost <- [1, burst] do
          {:deny, ms} = Enum.find_value(Stream.cycle([0]), fn _ -> denied(RateLimiter.hit(limiter, :k, cost)) end)
          assert ms >= 1
          RateLimiter.advance(limiter, ms - 1)
          assert {:deny, 1} = RateLimiter.hit(limiter, :k, cost)
          RateLimiter.advance(limiter, 1)
          assert {:allow, _} = RateLimiter.hit(limiter, :k, cost)
        end
      end
    end

    test "is allowed after the returned time, on the real clock as well" do
      limiter = start(limit: 20, per: 1_000, burst: 2)

      for _ <- 1..5 do
        {:deny, ms} = Enum.find_value(Stream.cycle([0]), fn _ -> denied(RateLimiter.hit(limiter, :k)) end)
        assert ms in 1..50
        receive after: (ms -> :ok)
        assert {:allow, _} = RateLimiter.hit(limiter, :k)
      end
    end

    defp denied({:deny, _} = denied), do: denied
    defp denied({:allow, _}), do: nil

    # The rate allows the 500 hits of the burst again after 500 ms. A busy machine stops all four
    # processes for less time than that. So the burst is never full again, and no hit is lost.
    test "allows exactly the burst and the rate to four hammering processes" do
      limiter = start(limit: 1_000, per: 1_000, burst: 500)
      before = now_us()
      # The full burst refills from the first hit on, so the processes hit for 400 ms after it. The
      # start of a process may be late.
      {:allow, 499} = RateLimiter.hit(limiter)
      until = now_us() + 400_000

      allowed =
        for _ <- 1..4 do
          Task.async(fn -> hammer(limiter, until, 0) end)
        end
        |> Task.await_many()
        |> Enum.sum()
        |> Kernel.+(1)

      lasted = now_us() - before
      assert allowed <= 500 + div(lasted, 1_000) + 1
      assert allowed >= 500 + 400 - 1
    end

    # Hits until the time `until`, and on until the first denial. Returns the number of allowed
    # hits.
    defp hammer(limiter, until, allowed) do
      over? = now_us() > until

      case RateLimiter.hit(limiter, "key") do
        {:allow, _} -> hammer(limiter, until, allowed + 1)
        {:deny, _} when over? -> allowed
        {:deny, _} -> hammer(limiter, until, allowed)
      end
    end

    defp now_us, do: System.monotonic_time(:microsecond)

    test "of a fresh key by many processes at once is allowed exactly as often as the burst" do
      for {processes, keys} <- [{2, 3_000}, {8, 1_000}, {64, 200}], burst <- [1, 3] do
        limiter = start(limit: 1, per: 1_000_000, burst: burst, max_keys: 10_000)
        gate = :atomics.new(1, [])

        allowed =
          for _ <- 1..processes do
            Task.async(fn ->
              for key <- 1..keys do
                arrive(gate, key * processes)
                if match?({:allow, _}, RateLimiter.hit(limiter, {:fresh, key})), do: key
              end
            end)
          end
          |> Task.await_many(patience(60_000))
          |> List.flatten()
          |> Enum.reject(&is_nil/1)
          |> Enum.frequencies()

        assert allowed == Map.new(1..keys, &{&1, min(burst, processes)})
      end
    end

    # Waits until all processes have arrived at the same key.
    defp arrive(gate, count) do
      :atomics.add(gate, 1, 1)
      wait(gate, count)
    end

    defp wait(gate, count) do
      if :atomics.get(gate, 1) < count do
        :erlang.yield()
        wait(gate, count)
      end
    end
  end

  describe "hit_all/1" do
    test "charges all limiters or none" do
      [a, b] = for burst <- [3, 2], do: manual(limit: 1, per: 1_000, burst: burst)
      both = [{a, :k, 1}, {b, :k, 1}]
      assert for(_ <- 1..3, do: RateLimiter.hit_all(both)) == [:allow, :allow, {:deny, b, 1_000}]
      assert RateLimiter.peek(a, :k) == {:allow, 0}
      assert RateLimiter.hit_all([]) == :allow
      assert RateLimiter.hit_all([{a, :k, 4}, {b, :k, 1}]) == {:deny, a, :infinity}
      assert {RateLimiter.info(a).denied, RateLimiter.info(b).denied} == {1, 1}
    end

    test "adds up the costs for the same limiter and key" do
      limiter = manual(limit: 1, per: 1_000, burst: 5)
      assert RateLimiter.hit_all([{limiter, 0.0, 2}, {limiter, -0.0, 2}, {limiter, :other, 5}]) == :allow
      assert RateLimiter.hit(limiter, 0.0) == {:allow, 0}
      assert RateLimiter.hit_all(for _ <- 1..6, do: {limiter, :new, 1}) == {:deny, limiter, :infinity}
      assert RateLimiter.hit_all(for _ <- 1..16, do: {limiter, :new, 2_147_483_647}) == {:deny, limiter, :infinity}
      assert RateLimiter.hit(limiter, :new) == {:allow, 4}
    end

    test "never allows more than the smaller burst, under concurrent calls" do
      [a, b] = for burst <- [500, 300], do: start(limit: 1, per: 1_000_000, burst: burst)

      allowed =
        for n <- 1..8 do
          hits = if rem(n, 2) == 0, do: [{a, :k, 1}, {b, :k, 1}], else: [{b, :k, 1}, {a, :k, 1}]
          Task.async(fn -> Enum.count(1..500, fn _ -> RateLimiter.hit_all(hits) == :allow end) end)
        end
        |> Task.await_many()
        |> Enum.sum()

      # `hit_all/1` charges the first limiter, and takes that charge back if the second limiter
      # denies. In between, the charge may have denied a concurrent call. So some of the 300 hits
      # are allowed only now.
      more = Enum.count(1..500, fn _ -> RateLimiter.hit_all([{a, :k, 1}, {b, :k, 1}]) == :allow end)
      assert allowed + more == 300
      assert RateLimiter.peek(a, :k) == {:allow, 199}
    end
  end

  describe "charge/3" do
    test "can exceed the burst, and later hits are denied until the excess has run down" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)

      for key <- [:global, "key", {:user, "id"}] do
        assert RateLimiter.charge(limiter, key, 2) == {:allow, 2}
        assert RateLimiter.peek(limiter, key) == {:allow, 2}
        assert RateLimiter.charge(limiter, key, 3) == {:deny, 100}
        assert RateLimiter.charge(limiter, key, 1_000) == {:deny, 100_100}
        assert RateLimiter.hit(limiter, key) == {:deny, 100_100}
      end

      assert %{allowed: 0, denied: 3} = RateLimiter.info(limiter)
      RateLimiter.advance(limiter, 100_100)
      for key <- [:global, "key", {:user, "id"}], do: assert(hits(limiter, key, 2) == [{:allow, 0}, {:deny, 100}])
    end

    test "stays when the owner crashes, and is cut to a new burst, like any debt" do
      name = unique_name()
      opts = [name: name, limit: 10, per: 1_000, burst: 5, clock: :manual]
      {:ok, owner} = RateLimiter.start_link(opts)
      Process.unlink(owner)
      RateLimiter.charge(name, "key", 100)
      kill(owner)
      {:ok, _} = RateLimiter.start_link(opts)
      assert RateLimiter.peek(name, "key") == {:deny, 9_600}
      RateLimiter.update(name, burst: 6)
      assert RateLimiter.peek(name, "key") == {:deny, 100}
    end
  end

  describe "refund/3" do
    test "gives hits back, up to the full burst" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)

      for key <- [:global, "key"] do
        assert RateLimiter.refund(limiter, key, 3) == {:allow, 4}
        assert RateLimiter.hit(limiter, key, 5) == {:allow, 0}
        assert RateLimiter.refund(limiter, key, 2) == {:allow, 1}
        assert RateLimiter.refund(limiter, key, 2_147_483_647) == {:allow, 4}
        assert RateLimiter.hit(limiter, key, 5) == {:allow, 0}
        assert RateLimiter.reset(limiter, key) == :ok
      end

      # A refund of an unknown key takes no place.
      assert RateLimiter.refund(limiter, "other", 1) == {:allow, 4}
      assert RateLimiter.info(limiter).keys == 0
    end
  end

  describe "pause/3" do
    test "denies the key until the pause is over, in every function" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)
      other = manual(limit: 10, per: 1_000)

      for key <- [:global, "key"] do
        RateLimiter.hit(limiter, key, 2)
        assert RateLimiter.pause(limiter, key, 500) == :ok
        assert RateLimiter.pause(limiter, key, 100) == :ok
        assert RateLimiter.hit(limiter, key) == {:deny, 500}
        assert RateLimiter.hit(limiter, key, 6) == {:deny, :infinity}
        assert RateLimiter.peek(limiter, key) == {:deny, 500}
        assert RateLimiter.acquire(limiter, key, timeout: 499) == {:error, {:rate_limited, 500}}
        assert RateLimiter.hit_all([{other, key, 1}, {limiter, key, 1}]) == {:deny, limiter, 500}
        assert RateLimiter.peek(other, key) == {:allow, 9}
        assert RateLimiter.charge(limiter, key, 1) == {:deny, 500}
        assert RateLimiter.refund(limiter, key, 3) == {:deny, 500}
        assert Penstock.run(limiter, fn -> :ok end, key: key) == {:error, {:rate_limited, 500}}
        assert RateLimiter.hit(limiter, {:not, key}) == {:allow, 4}
      end

      RateLimiter.update(limiter, burst: 4)
      RateLimiter.advance(limiter, 499)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(limiter, key) == {:deny, 1})
      RateLimiter.advance(limiter, 1)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(limiter, key) == {:allow, 3})
    end

    test "does not change the debt of the key" do
      limiter = manual(limit: 10, per: 1_000, burst: 5)
      RateLimiter.charge(limiter, "key", 15)
      RateLimiter.pause(limiter, "key", 500)
      assert RateLimiter.peek(limiter, "key") == {:deny, 1_100}
      RateLimiter.advance(limiter, 500)
      assert RateLimiter.peek(limiter, "key") == {:deny, 600}
    end

    test "delays turns until the pause is over, and then gives them at the rate" do
      limiter = manual(limit: 10, per: 1_000, burst: 2)
      RateLimiter.pause(limiter, "key", 500)
      turns = for _ <- 1..4, do: Penstock.Native.rate_reserve(limiter, "key", 1, :infinity, :measured)
      assert turns == [500, 500, 600, 700]
    end

    test "ends by a reset, and stays when the owner crashes" do
      name = unique_name()
      opts = [name: name, limit: 10, per: 1_000, clock: :manual]
      {:ok, owner} = RateLimiter.start_link(opts)
      Process.unlink(owner)
      for key <- [:global, "key"], do: RateLimiter.pause(name, key, 2_147_483_647)
      kill(owner)
      {:ok, owner} = RateLimiter.start_link([limit: 20] ++ opts)
      for key <- [:global, "key"], do: assert(RateLimiter.hit(name, key) == {:deny, 2_147_483_647})
      assert RateLimiter.reset(name, "key") == :ok
      assert {:allow, _} = RateLimiter.hit(name, "key")
      assert RateLimiter.hit(name) == {:deny, 2_147_483_647}
      GenServer.stop(owner)
      {:ok, _} = RateLimiter.start_link(opts)
      assert RateLimiter.hit(name) == {:allow, 9}
    end
  end

  test "a limiter is in Penstock.list/0 with its info" do
    name = manual(limit: 3, per: 1_000)
    gate = Enum.find(Penstock.list(), &(&1.name == name))
    assert gate == Map.put(RateLimiter.info(name), :kind, :rate_limiter)
  end
end
