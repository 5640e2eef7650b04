defmodule Penstock.Admission.GateWaitTest do
  # Changes of a gate and of its limits while a caller waits. `wait/4` calls a function just before
  # its last step, so these tests need no luck to hit that instant.
  #
  # | change                                      | rules out                                   |
  # |---------------------------------------------|---------------------------------------------|
  # | a gate closes before its limits are read    | a crash of a caller without a key           |
  # | a gate starts again with other limits       | work that holds no permit of its limits     |
  # | a pool of the gate starts again             | a permit of the new pool that is given back |
  # | a waiter is admitted                        | a refusal that its limits have counted      |
  use Penstock.PoolCase, async: true

  alias Penstock.Admission.{GateTurn, GateWait, Keyed, Request}
  alias Penstock.{Gate, KeyedPool, RateLimiter}

  test "a gate that has closed refuses a caller without a key" do
    assert GateWait.wait(unique_name(), :bound, %Request{}, fn _limits -> :ok end) == {:error, :closed}
  end

  test "a gate that starts again with other limits refuses, and gives all permits back" do
    [first, second] = [start_pool(limit: 1), start_pool(limit: 1)]
    rate = unique_name()
    start_supervised!({RateLimiter, name: rate, limit: 10, per: 60_000})

    # More limits, fewer limits, others, and the same ones in another order.
    for {before, later, answer} <- [
          {[first], [second], :closed},
          {[first], [first, second], :closed},
          {[first, second], [second], :closed},
          {[first, second], [second, first], :ok}
        ] do
      gate = unique_name()
      {:ok, owner} = Gate.start_link(name: gate, limits: [rate | before])
      allowed = RateLimiter.info(rate).allowed

      restart = fn waited ->
        GenServer.stop(owner)
        {:ok, _} = Gate.start_link(name: gate, limits: [rate | later])
        Keyed.finish(gate, waited, %Request{})
      end

      result = GateWait.wait(gate, :bound, %Request{}, restart)

      if answer == :ok do
        assert {:ok, set} = result
        assert RateLimiter.info(rate).allowed == allowed + 1
        Penstock.Native.run_end(nil, set, 1)
      else
        # Nothing is charged for work that is refused.
        assert result == {:error, answer}
        assert RateLimiter.info(rate).allowed == allowed
        assert Gate.info(gate).rejected == %{closed: 1}
      end

      assert {Pool.info(first).in_use, Pool.info(second).in_use} == {0, 0}
    end
  end

  test "a stream whose gate starts again with other limits is refused, and all permits go back" do
    [first, second] = [start_pool(limit: 1), start_pool(limit: 1)]
    rate = unique_name()
    start_supervised!({RateLimiter, name: rate, limit: 10, per: 60_000})
    gate = unique_name()
    {:ok, owner} = Gate.start_link(name: gate, limits: [rate, first])
    holder = actor()
    :ok = answer(ask(holder, fn -> Pool.acquire(first) end))
    ref = make_ref()
    assert {:waiting, wait} = GateTurn.begin(gate, %Request{}, ref)
    GenServer.stop(owner)
    {:ok, _} = Gate.start_link(name: gate, limits: [rate, second])
    :ok = answer(ask(holder, fn -> Pool.release(first) end))
    assert_receive {^ref, :granted}
    assert GateTurn.granted(wait, ref) == {:refused, :closed}
    assert RateLimiter.info(rate).allowed == 0
    assert Gate.info(gate).rejected == %{closed: 1}
    assert {Pool.info(first).in_use, Pool.info(second).in_use} == {0, 0}
  end

  test "a refusal gives back the permits of the pool that granted them" do
    pool = unique_name()
    {:ok, owner} = Pool.start_link(name: pool, limit: 1)
    gate = unique_name()
    start_supervised!({Gate, name: gate, limits: [pool]})

    restart = fn _limits ->
      GenServer.stop(owner)
      {:ok, _} = Pool.start_link(name: pool, limit: 1)
      :ok = Pool.try_acquire(pool)
      :overloaded
    end

    assert GateWait.wait(gate, :manual, %Request{}, restart) == {:error, :overloaded}
    assert Pool.info(pool).in_use == 1
  end

  test "a caller that waits and is admitted was refused by no limit" do
    {pool, keyed, gate} = {start_pool(limit: 1), unique_name(), unique_name()}
    start_supervised!({KeyedPool, name: keyed, limit: 1})
    start_supervised!({Gate, name: gate, limits: [pool, keyed]})
    :ok = Gate.try_acquire(gate, key: 1)
    waiter = ask(actor(), fn -> Gate.acquire(gate, key: 1) end)
    eventually(fn -> KeyedPool.info(keyed).waiting == 1 end)
    :ok = Gate.release(gate, key: 1)
    assert answer(waiter) == :ok
    assert {Pool.info(pool).rejected, KeyedPool.info(keyed).rejected} == {0, 0}
    assert Gate.info(gate).rejected == %{}
  end

  test "a stream passes a gate of the most limits" do
    pools = for _ <- 1..16, do: start_pool(limit: 2)
    gate = unique_name()
    start_supervised!({Gate, name: gate, limits: pools})
    stream = Penstock.Task.async_stream(gate, 1..5, fn n -> {n, Enum.map(pools, &Pool.info(&1).in_use)} end)
    assert Enum.map(stream, fn {:ok, {n, _in_use}} -> n end) == [1, 2, 3, 4, 5]
    eventually(fn -> Enum.all?(pools, &(Pool.info(&1).in_use == 0)) end)
  end
end
