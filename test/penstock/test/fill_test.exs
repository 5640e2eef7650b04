defmodule Penstock.Test.FillTest do
  # Tests that fill/3 makes each kind of gate refuse, for each reason, and that the gate is as before
  # afterwards, no matter which process dies.
  use ExUnit.Case, async: true

  import Penstock.PoolCase, only: [eventually: 1]
  import Penstock.Test
  alias MyApp.PlantedBugs
  alias Penstock.{Ban, Gate, KeyedPool, Pool, RateLimiter}

  # Asserts that the gate answers `refused` to a caller meanwhile, and admits it before and after.
  defp assert_refused(gate, opts, refused, request) do
    assert {:ok, :ran} = Penstock.run(gate, fn -> :ran end, request)
    assert fill(gate, opts, fn -> Penstock.run(gate, fn -> :ran end, request) end) |> same?(refused)
    assert {:ok, :ran} = Penstock.run(gate, fn -> :ran end, request)
  end

  defp same?({:error, {reason, ms}}, {:error, reason}), do: ms == :infinity or ms > 0
  defp same?(answer, refused), do: answer == refused

  test "a pool" do
    pool = start_gate!(:pool, limit: 3, max_waiting: 5)
    assert_refused(pool, [], {:error, :full}, timeout: 0)
    assert_refused(pool, [reason: :timeout], {:error, :timeout}, timeout: 10)
    assert_refused(pool, [reason: :queue_full], {:error, :queue_full}, timeout: 1_000)
    assert_refused(pool, [reason: :closed], {:error, :closed}, timeout: 1_000)
    assert %{in_use: 0, waiting: 0, status: :open} = Pool.info(pool)

    unnamed = Pool.new(limit: 2)
    assert_refused(unnamed, [], {:error, :full}, timeout: 0)
    assert Pool.info(unnamed).in_use == 0
  end

  test "a pool with holders, which release meanwhile" do
    pool = start_gate!(:pool, limit: 3)
    :ok = Pool.acquire(pool, permits: 2)

    fill(pool, [], fn ->
      assert Pool.try_acquire(pool) == {:error, :full}
      :ok = Pool.release(pool)
      assert Pool.try_acquire(pool) == {:error, :full}
      :ok = Pool.release(pool)
      assert Pool.try_acquire(pool) == {:error, :full}
    end)

    assert %{in_use: 0, waiting: 0} = Pool.info(pool)
  end

  test "a keyed pool" do
    pool = start_gate!(:keyed_pool, limit: 2, max_keys: 100)
    assert_refused(pool, [key: "ann"], {:error, :key_full}, key: "ann", timeout: 0)
    assert_refused(pool, [key: "ann", reason: :timeout], {:error, :timeout}, key: "ann", timeout: 10)
    assert_refused(pool, [reason: :table_full], {:error, :table_full}, key: "ann", timeout: 0)
    assert_refused(pool, [reason: :closed], {:error, :closed}, key: "ann", timeout: 0)
    assert {:ok, :ran} = fill(pool, [key: "ann"], fn -> Penstock.run(pool, fn -> :ran end, key: "bob") end)

    :ok = KeyedPool.acquire(pool, "ann")

    fill(pool, [key: "ann"], fn ->
      :ok = KeyedPool.release(pool, "ann")
      assert KeyedPool.try_acquire(pool, "ann") == {:error, :key_full}
    end)

    assert %{in_use: 0, waiting: 0, keys: 0} = KeyedPool.info(pool)
  end

  test "a limiter, whose key has afterwards what it had before" do
    limiter = start_gate!(:rate_limiter, limit: 10, per: 60_000, clock: :manual)
    {:allow, 7} = RateLimiter.hit(limiter, "ann", 3)
    answer = fn -> RateLimiter.hit(limiter, "ann") end
    assert {:deny, 60_000} = fill(limiter, [key: "ann"], answer)
    assert {:deny, 9_000} = fill(limiter, [key: "ann", reason: {:rate_limited, 9_000}], answer)
    assert {:allow, 6} = RateLimiter.peek(limiter, "ann")
    assert {:allow, 9} = fill(limiter, [key: "ann"], fn -> RateLimiter.peek(limiter, "bob") end)
    assert {:deny, _ms} = fill(limiter, [], fn -> RateLimiter.hit(limiter) end)
    assert {:allow, 9} = RateLimiter.hit(limiter)
  end

  test "a ban" do
    ban = start_gate!(:ban, failures: 3)
    assert_refused(ban, [key: "ann"], {:error, :banned}, key: "ann")
    assert {:banned, :infinity} = fill(ban, [key: "ann", reason: {:banned, :infinity}], fn -> Ban.check(ban, "ann") end)
    Ban.ban(ban, "bob", 60_000)
    assert {:banned, :infinity} = fill(ban, [key: "bob", reason: {:banned, :infinity}], fn -> Ban.check(ban, "bob") end)
    assert {:banned, ms} = Ban.check(ban, "bob")
    assert ms <= 60_000
  end

  test "a gate of several limits refuses by the limit that has the reason" do
    pool = start_gate!(:pool, limit: 2)
    keyed = start_gate!(:keyed_pool, limit: 2)
    limiter = start_gate!(:rate_limiter, limit: 100, per: 1_000)
    ban = start_gate!(:ban, failures: 3)
    gate = start_gate!(:gate, limits: [pool, keyed, limiter, ban])
    request = [key: "ann", timeout: 0]

    for {reason, answer} <- [
          {nil, :full},
          {:closed, :closed},
          {:key_full, :key_full},
          {:table_full, :table_full},
          {:rate_limited, :rate_limited},
          {:banned, :banned}
        ] do
      opts = if reason, do: [reason: reason, key: "ann"], else: []
      # The table of the keyed pool is small here, since a fill takes all of its places.
      if reason != :table_full, do: assert_refused(gate, opts, {:error, answer}, request)
    end

    assert %{admitted: admitted} = Gate.info(gate)
    assert admitted >= 10
  end

  test "the gate is free when any of the processes dies" do
    test = self()

    for {reason, free?} <- [full: &(&1.in_use == 0), queue_full: &(&1.waiting == 0), closed: &(&1.status == :open)],
        victim <- [:caller, :filler] do
      pool = start_gate!(:pool, limit: 2, max_waiting: 3)

      {caller, monitor} =
        spawn_monitor(fn ->
          fill(pool, [reason: reason], fn ->
            {:monitors, [process: filler]} = Process.info(self(), :monitors)
            send(test, {:filled, filler})
            PlantedBugs.block()
          end)
        end)

      assert_receive {:filled, filler}
      refute free?.(Pool.info(pool))
      Process.exit(if(victim == :caller, do: caller, else: filler), :kill)
      eventually(fn -> free?.(Pool.info(pool)) end)
      send(caller, :stop)
      assert_receive {:DOWN, ^monitor, :process, ^caller, _reason}
      eventually(fn -> match?(%{in_use: 0, waiting: 0, status: :open}, Pool.info(pool)) end)
    end
  end

  # The gate of that name was reopened, unbanned and reset before, although no fill had touched it.
  test "a gate that is opened by the same name meanwhile stays as it is" do
    opened_again = fn kind, opts, before, act ->
      name = start_gate!(kind, opts)

      fill(name, before, fn ->
        # Ends the processes that the fill may have left, and the closed pool.
        :ok = stop_supervised(id(kind, name))
        start_gate!(kind, [name: name] ++ opts)
        act.(name)
      end)

      name
    end

    for reason <- [:full, :queue_full, :closed] do
      pool =
        opened_again.(:pool, [limit: 2, max_waiting: 2], [reason: reason], fn pool ->
          assert %{in_use: 0, waiting: 0, status: :open} = Pool.info(pool)
          :ok = Pool.acquire(pool)
          {:error, {:timeout, 1}} = Pool.drain(pool, 0)
        end)

      assert %{in_use: 1, status: :draining} = Pool.info(pool)
    end

    for before <- [[key: "ann"], [reason: :table_full], [reason: :closed]] do
      keyed =
        opened_again.(:keyed_pool, [limit: 2, max_keys: 10], before, fn keyed ->
          :ok = KeyedPool.acquire(keyed, "ann")
          {:error, {:timeout, 1}} = KeyedPool.drain(keyed, 0)
        end)

      assert %{in_use: 1, status: :draining} = KeyedPool.info(keyed)
    end

    limiter =
      opened_again.(:rate_limiter, [limit: 10, per: 60_000, clock: :manual], [key: "ann"], fn limiter ->
        {:allow, 6} = RateLimiter.hit(limiter, "ann", 4)
      end)

    assert RateLimiter.peek(limiter, "ann") == {:allow, 5}

    ban = opened_again.(:ban, [failures: 3], [key: "ann"], &Ban.ban(&1, "ann", :infinity))
    assert Ban.check(ban, "ann") == {:banned, :infinity}
  end

  defp id(kind, name) do
    module = %{pool: Pool, keyed_pool: KeyedPool, rate_limiter: RateLimiter, ban: Ban}[kind]
    module.child_spec(name: name).id
  end

  test "what the function raises passes through, and the gate is free" do
    pool = start_gate!(:pool, limit: 2)
    assert_raise RuntimeError, "burst", fn -> fill(pool, [], fn -> raise "burst" end) end
    assert Pool.info(pool).in_use == 0
  end

  test "bad arguments" do
    pool = start_gate!(:pool, limit: 2)
    keyed = start_gate!(:keyed_pool, limit: 2)
    :ok = Pool.drain(start_gate!(:pool, name: MyApp.ClosedPool, limit: 2), 0)
    :ok = KeyedPool.drain(start_gate!(:keyed_pool, name: MyApp.ClosedKeys, limit: 2), 0)
    closed = "expected gate to be open, since a closed one refuses with :closed alone, got: "
    limitless = start_gate!(:pool, limit: :infinity)
    gate = start_gate!(:gate, limits: [pool], shed_at: :high)
    ok = fn -> :ok end

    for {args, message} <- [
          {[NoGate.Here, [], ok], ~r/no gate named NoGate.Here is running/},
          {[pool, [], 1], "expected fun to be a function of arity 0, got: 1"},
          {[pool, [reason: :banned], ok],
           "expected :reason to be :full or :queue_full or :timeout or :closed, got: :banned"},
          {[gate, [reason: :overloaded], ok],
           "expected :reason to be :full or :queue_full or :timeout or :closed, got: :overloaded"},
          {[pool, [reason: {:rate_limited, 0}], ok], ~r/expected :reason to be a reason of Penstock.Test.fill/},
          {[limitless, [], ok], ~r/expected gate to be a pool with a limit/},
          {[limitless, [reason: :queue_full], ok], ~r/expected gate to be a pool with a limit/},
          {[MyApp.ClosedPool, [], ok], closed <> "MyApp.ClosedPool"},
          {[MyApp.ClosedPool, [reason: :queue_full], ok], closed <> "MyApp.ClosedPool"},
          {[MyApp.ClosedKeys, [key: 1], ok], closed <> "MyApp.ClosedKeys"},
          {[MyApp.ClosedKeys, [reason: :table_full], ok], closed <> "MyApp.ClosedKeys"},
          {[keyed, [], ok], ~r/the option :key is missing/},
          {[pool, [why: :full], ok], ~r/unknown option :why/}
        ] do
      assert_raise ArgumentError, message, fn -> apply(Penstock.Test, :fill, args) end
    end
  end
end
