defmodule Penstock.PoolDrainTest do
  use Penstock.PoolCase, async: true

  # Returns an actor that is parked in `drain`, and the reference of its answer.
  defp drain(pool, timeout) do
    pid = actor()
    ref = ask(pid, fn -> {Pool.drain(pool, timeout), mailbox()} end)
    eventually(fn -> Pool.info(pool).status == :draining end)
    eventually(fn -> Process.info(pid, :status) == {:status, :waiting} end)
    {pid, ref}
  end

  test "a drain of an idle pool returns at once" do
    for pool <- both(limit: 2) do
      assert Pool.drain(pool) == :ok
      assert Pool.info(pool).status == :draining
      assert Pool.drain(pool, 0) == :ok
      assert Pool.drain(pool, :infinity) == :ok
      assert mailbox() == []
    end
  end

  test "a drain refuses new callers and waiters" do
    for pool <- both(limit: 2) do
      _holder = holder(pool, 2)
      {_, ref} = park(pool)
      runner = actor()
      run = ask(runner, fn -> Penstock.run(pool, fn -> :never end) end)
      await_waiting(pool, 2)
      assert Pool.drain(pool, 0) == {:error, {:timeout, 2}}
      assert answer(ref) == {:error, :closed}
      assert answer(run) == {:error, :closed}
      assert Pool.try_acquire(pool) == {:error, :closed}
      assert Pool.acquire(pool) == {:error, :closed}
      assert Penstock.run(pool, fn -> :never end) == {:error, :closed}
      assert Penstock.run(pool, fn -> :never end, timeout: 0) == {:error, :closed}

      for spawn <- [&Penstock.spawn/3, &Penstock.spawn_link/3, &Penstock.spawn_monitor/3], opts <- [[], [timeout: 5]] do
        assert spawn.(pool, fn -> :never end, opts) == {:error, :closed}
      end

      assert counts(pool) == {2, 1, 0}
      assert Pool.info(pool).rejected == 2 + 4 + 6
    end
  end

  test "a drain waits until the last permit is released" do
    for pool <- both(limit: 3) do
      [one, two] = [holder(pool), holder(pool, 2)]
      {_, ref} = drain(pool, :infinity)
      assert tell(one, fn -> Pool.release(pool) end) == :ok
      assert tell(two, fn -> Pool.release(pool) end) == :ok
      refute_received {^ref, _}
      assert tell(two, fn -> Pool.release(pool) end) == :ok
      assert answer(ref) == {:ok, []}
    end
  end

  test "a drain waits until the last holder has ended, for permits of each kind" do
    for pool <- both(limit: 4) do
      free = holder(pool)
      {:ok, child} = Penstock.spawn(pool, fn -> receive do: (:stop -> :ok) end)
      runner = actor()
      run = ask(runner, fn -> Penstock.run(pool, fn -> receive do: (:stop -> :ok) end) end)
      eventually(fn -> Pool.info(pool).in_use == 3 end)
      {_, ref} = drain(pool, :infinity)
      kill(free)
      send(child, :stop)
      send(runner, :stop)
      assert answer(run) == {:ok, :ok}
      assert answer(ref) == {:ok, []}
      assert counts(pool) == {0, 0, 0}
    end
  end

  test "a drain that times out returns how many permits are held, and leaves the pool draining" do
    for pool <- both(limit: 3) do
      pid = holder(pool, 3)
      assert Pool.drain(pool, 0) == {:error, {:timeout, 3}}
      assert Pool.drain(pool, 20) == {:error, {:timeout, 3}}
      assert mailbox() == []
      assert Pool.info(pool).status == :draining
      assert %{timed_out: 0, waiting: 0} = Pool.info(pool)
      tell(pid, fn -> Pool.release(pool, 3) end)
      assert Pool.drain(pool, 0) == :ok
    end
  end

  test "a drain by a holder waits for the holder's own permits" do
    for pool <- both(limit: 3) do
      :ok = Pool.acquire(pool)
      assert Pool.drain(pool, 10) == {:error, {:timeout, 1}}
    end
  end

  test "100 processes can drain a pool at once" do
    for pool <- both(limit: 3) do
      pid = holder(pool)
      refs = for _ <- 1..100, do: elem(drain(pool, :infinity), 1)
      {killed, _} = drain(pool, :infinity)
      kill(killed)
      assert Pool.drain(pool, 5) == {:error, {:timeout, 1}}
      tell(pid, fn -> Pool.release(pool) end)
      for ref <- refs, do: assert(answer(ref) == {:ok, []})
    end
  end

  test "a drain that times out as the last permit is released returns :ok, or that one permit is held" do
    for pool <- both(limit: 1) do
      drainer = actor()

      for _ <- 1..100 do
        pid = holder(pool)
        ref = ask(drainer, fn -> {Pool.drain(pool, 1), mailbox()} end)
        eventually(fn -> Pool.info(pool).status == :draining end)
        released = ask(pid, fn -> receive(do: (:never -> :ok), after: (1 -> Pool.release(pool))) end)
        assert answer(ref) in [{:ok, []}, {{:error, {:timeout, 1}}, []}]
        assert answer(released) == :ok
        assert Pool.drain(pool, 0) == :ok
        :ok = Pool.reopen(pool)
      end
    end
  end

  describe "reopen/1" do
    test "undoes a drain" do
      for pool <- both(limit: 2, max_waiting: 3) do
        pid = holder(pool)
        Pool.drain(pool, 0)
        assert Pool.reopen(pool) == :ok
        assert %{status: :open, limit: 2, max_waiting: 3, in_use: 1} = Pool.info(pool)
        assert Pool.try_acquire(pool) == :ok
        {_, ref} = park(pool)
        tell(pid, fn -> Pool.release(pool) end)
        assert answer(ref) == :ok
      end
    end

    test "answers a parked drain with the number of permits that are held" do
      for pool <- both(limit: 3) do
        _holder = holder(pool, 2)
        {_, ref} = drain(pool, :infinity)
        assert Pool.reopen(pool) == :ok
        assert answer(ref) == {{:error, {:timeout, 2}}, []}
      end
    end

    test "at the instant of the last release answers a parked drain with :ok, or that one permit is held" do
      for pool <- both(limit: 1) do
        [drainer, holder, reopener] = [actor(), actor(), actor()]

        for _ <- 1..500 do
          :ok = tell(holder, fn -> Pool.acquire(pool) end)
          drained = ask(drainer, fn -> {Pool.drain(pool), mailbox()} end)
          eventually(fn -> Process.info(drainer, :status) == {:status, :waiting} end)
          eventually(fn -> Pool.info(pool).status == :draining end)
          released = ask(holder, fn -> Pool.release(pool) end)
          reopened = ask(reopener, fn -> Pool.reopen(pool) end)
          assert answer(released) == :ok
          assert answer(reopened) == :ok
          assert answer(drained) in [{:ok, []}, {{:error, {:timeout, 1}}, []}]
        end
      end
    end

    test "of an open pool does nothing" do
      for pool <- both(limit: 3) do
        _holder = holder(pool, 3)
        {_, ref} = park(pool)
        assert Pool.reopen(pool) == :ok
        refute_received {^ref, _}
        assert counts(pool) == {3, 1, 1}
      end
    end
  end

  test "an update of a draining pool stays in force after reopen/1" do
    for pool <- both(limit: 2) do
      :ok = Pool.acquire(pool)
      Pool.drain(pool, 0)
      assert Pool.update(pool, limit: 5, max_waiting: 1) == :ok
      assert Pool.try_acquire(pool) == {:error, :closed}
      Pool.reopen(pool)
      assert Pool.try_acquire(pool, 4) == :ok
      assert %{limit: 5, max_waiting: 1} = Pool.info(pool)
    end
  end

  test "a drain after the :DOWN of the last holder returns :ok" do
    for pool <- both(limit: 1), _ <- 1..100 do
      pid = actor()
      # Monitors fire in the order in which they were made. The test makes its monitor first, and
      # `acquire` makes the pool's. So the pool may still count the holder when the test sees the
      # `:DOWN`.
      monitor = Process.monitor(pid)
      :ok = tell(pid, fn -> Pool.acquire(pool) end)
      Process.exit(pid, :kill)
      await_down(monitor)
      assert Pool.drain(pool) == :ok
      Pool.reopen(pool)
    end
  end
end
