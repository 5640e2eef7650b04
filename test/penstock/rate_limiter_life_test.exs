defmodule Penstock.RateLimiterLifeTest do
  # The start of a limiter, its adoption after a crash of the owner, and its end.
  use Penstock.PoolCase, async: true
  import Penstock.Limiters

  alias Penstock.RateLimiter

  describe "the life of a limiter" do
    test "goes on after a crash of its owner, with debts and updated values" do
      name = manual(limit: 1, per: 1_000)
      {:allow, 0} = RateLimiter.hit(name, :k)
      :ok = RateLimiter.update(name, per: 5_000)
      owner = Penstock.Native.gate_owner(name)
      kill(owner)
      eventually(fn -> (now = Penstock.Native.gate_owner(name)) != owner and Process.alive?(now) end)
      assert RateLimiter.hit(name, :k) == {:deny, 1_000}
      assert RateLimiter.info(name).per == 5_000
    end

    test "goes on with changed options, and begins again if its size or clock has changed" do
      name = unique_name()
      Process.flag(:trap_exit, true)
      options = [name: name, limit: 1, per: 1_000, clock: :manual]

      crash = fn ->
        owner = Penstock.Native.gate_owner(name)
        Process.exit(owner, :kill)
        assert_receive {:EXIT, ^owner, :killed}
      end

      {:ok, _} = RateLimiter.start_link(options)
      {:allow, 0} = RateLimiter.hit(name)
      crash.()
      {:ok, _} = RateLimiter.start_link(Keyword.merge(options, limit: 2, burst: 2))
      assert RateLimiter.hit(name) == {:deny, 500}
      crash.()
      {:ok, _} = RateLimiter.start_link(Keyword.merge(options, max_keys: 7))
      assert RateLimiter.hit(name) == {:allow, 0}
      assert RateLimiter.info(name).memory == 112
      crash.()
      # The start raises if the machine has too little memory for the new keys. The crashed
      # limiter still has a small table under this name, but its size does not fit. A machine
      # with 64 GiB of free memory starts the limiter, so the test does not expect the error there.
      too_many = Keyword.merge(options, max_keys: 2_147_483_647)

      unless Penstock.Node.MemoryGuard.available?(32 * 2_147_483_647) do
        assert_raise ArgumentError, ~r/:max_keys/, fn -> RateLimiter.start_link(too_many) end
      end

      {:ok, owner} = RateLimiter.start_link(Keyword.merge(options, max_keys: 7, clock: :monotonic))
      assert RateLimiter.hit(name) == {:allow, 0}
      assert_raise ArgumentError, fn -> RateLimiter.advance(name, 1) end
      GenServer.stop(owner)
    end

    # A start under a name that a gate of another kind has is refused, and logs a warning.
    @tag :capture_log
    test "ends with its owner's orderly end, which frees the name for any kind of gate" do
      name = unique_name()
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      assert {:error, {:already_started, ^owner}} = RateLimiter.start_link(name: name, limit: 1, per: 1)
      assert {:error, {:already_started, ^owner}} = Pool.start_link(name: name, limit: 1)
      {:allow, 0} = RateLimiter.hit(name)
      message = "no pool named #{inspect(name)} is running (it is a rate limiter)"
      assert_raise ArgumentError, message, fn -> Pool.info(name) end
      assert_raise ArgumentError, message, fn -> Pool.acquire(name) end
      GenServer.stop(owner)
      message = Penstock.PoolCase.not_running("limiter", name)
      assert_raise ArgumentError, message, fn -> RateLimiter.hit(name) end
      assert_raise ArgumentError, message, fn -> RateLimiter.info(name) end

      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      assert {:error, {:already_started, ^owner}} = RateLimiter.start_link(name: name, limit: 1, per: 1)
      message = "no limiter named #{inspect(name)} is running (it is a pool)"
      assert_raise ArgumentError, message, fn -> RateLimiter.hit(name, :key) end
      GenServer.stop(owner)

      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      assert RateLimiter.hit(name) == {:allow, 0}
      GenServer.stop(owner)
    end

    test "whose owner crashed leaves its name to a gate of another kind" do
      name = unique_name()
      Process.flag(:trap_exit, true)

      crash = fn owner ->
        Process.exit(owner, :kill)
        assert_receive {:EXIT, ^owner, :killed}
      end

      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      :ok = Pool.acquire(name)
      crash.(owner)
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      assert RateLimiter.hit(name) == {:allow, 0}
      assert_raise ArgumentError, fn -> Pool.info(name) end
      crash.(owner)
      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      assert Pool.try_acquire(name) == :ok
      assert_raise ArgumentError, fn -> RateLimiter.hit(name) end
      GenServer.stop(owner)
    end

    test "ends if no owner adopts it in time" do
      # The janitor waits 60 s for a new owner. A timer then sends the janitor this message. The
      # test sends the message at once. janitor_test.exs tests the timer.
      name = unique_name()
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000)
      Process.unlink(owner)
      kill(owner)
      assert RateLimiter.hit(name) == {:allow, 0}
      send(Penstock.Node.Janitor, {:adoption_over, name, owner})
      eventually(fn -> match?({:error, _}, safely(fn -> RateLimiter.hit(name) end)) end)
    end

    defp safely(fun) do
      {:ok, fun.()}
    rescue
      error in ArgumentError -> {:error, error}
    end

    # The memory of a closed limiter is reused by the next one with the same `:max_keys`.
    test "knows no key of an earlier limiter with the same memory" do
      for _ <- 1..3 do
        name = unique_name()
        {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000_000, max_keys: 1_234)
        for n <- 1..1_000, do: assert(RateLimiter.hit(name, n) == {:allow, 0})
        assert %{keys: 1_000, allowed: 1_000, denied: 0} = RateLimiter.info(name)
        GenServer.stop(owner)
      end
    end
  end
end
