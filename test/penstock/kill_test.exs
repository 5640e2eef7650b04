defmodule Penstock.KillTest do
  # Kills processes at random instants. At the end the counts must be exactly the permits of the
  # survivors. `script/stress` does the same with a million kills.
  #
  # | killed                                 | rules out                                        |
  # |----------------------------------------|--------------------------------------------------|
  # | holders, as they acquire and release   | a permit that is lost, or that returns twice     |
  # | callers of `run`                       | a bound permit that outlives its call            |
  # | waiters, with and without timeouts     | a permit that stays with a dead waiter           |
  # | waiters, among waiters that live       | a living waiter that is never granted a permit   |
  # | both sides of a transfer               | a permit that both have, or neither              |
  # | callers of each `spawn` function       | a child that runs without a permit; a lost offer |
  # | children, from their first instruction | a `:DOWN` that is seen before the permit is free |
  # | children and spawners at once          | a handoff that either death leaves half done     |
  # | the owner of a pool in use             | an adoption that loses or frees a permit         |
  # | callers, among holders that live       | a living holder that loses permits, or gains any |
  # | a holder whose `:DOWN` a caller saw    | `:full` for that caller                          |
  use Penstock.PoolCase, async: true

  @kills 2_000

  # Keeps `count` workers at work, which are processes that call `work`. `kills` times, kills a
  # worker at a random instant and replaces it. Returns the living workers once all killed ones
  # are dead.
  defp storm(kills, count, work) do
    workers = for n <- 1..count, into: %{}, do: {n, spawn(work)}

    {workers, killed} =
      Enum.reduce(1..kills, {workers, []}, fn _, {workers, killed} ->
        busy(:rand.uniform(2_000))
        n = :rand.uniform(count)
        Process.exit(workers[n], :kill)
        {Map.put(workers, n, spawn(work)), [workers[n] | killed]}
      end)

    # A killed process that runs on another scheduler goes on until that scheduler sees the kill.
    # So this function waits for each `:DOWN`.
    Enum.each(killed, &(&1 |> Process.monitor() |> await_down()))
    Map.values(workers)
  end

  defp busy(0), do: :ok
  defp busy(n), do: busy(n - 1)

  defp kill_all(pids) do
    # Kills all before it waits for the first death, because the others would work on meanwhile.
    Enum.each(pids, &Process.exit(&1, :kill))
    Enum.each(pids, &kill/1)
  end

  # Calls `fun` again and again. A kill takes effect when a process is scheduled out, which is
  # after 4,000 reductions. Each round begins with only 1 to 100 of these left, so that a kill
  # hits early in `fun`.
  defp forever(fun) do
    :erlang.yield()
    :erlang.bump_reductions(4_000 - :rand.uniform(100))
    fun.()
    forever(fun)
  end

  defp flush_downs do
    receive do
      {:DOWN, _, _, _, _} -> flush_downs()
    after
      0 -> :ok
    end
  end

  # Asserts that no permit is held, no process waits, and all permits can be acquired.
  defp assert_whole(pool, limit) do
    eventually(fn -> counts(pool) == {0, 0, 0} end)
    assert Pool.try_acquire(pool, limit) == :ok
    assert Pool.release(pool, limit) == :ok
    assert Pool.info(pool).available == limit
  end

  test "killed holders lose no permit" do
    for pool <- both(limit: 4) do
      work = fn ->
        forever(fn ->
          n = :rand.uniform(3)
          if Pool.try_acquire(pool, n) == :ok and :rand.uniform(2) == 1, do: :ok = Pool.release(pool, n)
        end)
      end

      @kills |> storm(6, work) |> kill_all()
      assert_whole(pool, 4)
      assert Pool.info(pool).peak <= 4
    end
  end

  test "killed callers of run lose no permit" do
    for pool <- both(limit: 3) do
      work = fn ->
        forever(fn -> Penstock.run(pool, fn -> busy(:rand.uniform(500)) end, permits: :rand.uniform(3)) end)
      end

      @kills |> storm(6, work) |> kill_all()
      assert_whole(pool, 3)
    end
  end

  test "killed waiters lose no permit, with and without timeouts" do
    for pool <- both(limit: 3) do
      work = fn ->
        forever(fn ->
          n = :rand.uniform(3)

          case Pool.acquire(pool, permits: n, timeout: Enum.random([1, 2, :infinity])) do
            :ok -> :ok = Pool.release(pool, n)
            {:error, :timeout} -> :ok
          end
        end)
      end

      @kills |> storm(10, work) |> kill_all()
      assert_whole(pool, 3)
    end
  end

  test "killed waiters leave no other waiter parked" do
    for pool <- both(limit: 2) do
      test = self()
      killed = fn -> forever(fn -> :ok = Pool.acquire(pool) && Pool.release(pool) end) end

      steady = fn ->
        for _ <- 1..300 do
          :ok = Pool.acquire(pool, timeout: :infinity)
          :erlang.yield()
          :ok = Pool.release(pool)
        end

        send(test, :through)
      end

      survivors = for _ <- 1..4, do: actor()
      for pid <- survivors, do: ask(pid, steady)
      pids = storm(@kills, 4, killed)
      for _ <- survivors, do: assert_receive(:through)
      kill_all(pids)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
      assert Pool.try_acquire(pool, 2) == :ok
    end
  end

  test "killed senders and receivers of transfers lose and double no permit" do
    for pool <- both(limit: 4) do
      table = :ets.new(:peers, [:public])

      work = fn ->
        forever(fn ->
          :ets.insert(table, {:rand.uniform(8), self()})
          n = :rand.uniform(2)

          if Pool.acquire(pool, permits: n, timeout: 1) == :ok do
            case :ets.lookup(table, :rand.uniform(8)) do
              [{_, peer}] -> Pool.transfer(pool, peer, n)
              [] -> :ok = Pool.release(pool, n)
            end
          end

          # Releases a permit that another worker may have transferred to this one.
          Pool.release(pool)
        end)
      end

      @kills |> storm(8, work) |> kill_all()
      assert_whole(pool, 4)
      assert Pool.info(pool).peak <= 4
    end
  end

  for {spawn, timeout} <- [spawn: 0, spawn: 2, spawn_link: 2, spawn_monitor: 0] do
    test "killed callers of #{spawn} with timeout #{timeout} leave no child without a permit" do
      for pool <- both(limit: 3) do
        without_permit = :atomics.new(1, [])

        child = fn ->
          unless Enum.any?(Pool.holders(pool), &(&1.pid == self())), do: :atomics.add(without_permit, 1, 1)
        end

        work = fn ->
          # The children have a low priority, so that many spawners die before the first
          # instruction of their child.
          opts = [timeout: unquote(timeout), spawn_opt: [priority: :low]]
          forever(fn -> apply(Penstock, unquote(spawn), [pool, child, opts]) end)
        end

        @kills |> storm(4, work) |> kill_all()
        eventually(fn -> counts(pool) == {0, 0, 0} end)
        assert :atomics.get(without_permit, 1) == 0
        assert_whole(pool, 3)
        assert Pool.info(pool).peak <= 3
      end
    end
  end

  test "the permits of a child that is killed in its first instructions are free once its :DOWN is seen" do
    for pool <- both(limit: 3) do
      :rand.seed(:exsss)

      for n <- 1..@kills do
        {:ok, {pid, monitor}} = Penstock.spawn_monitor(pool, fn -> busy(200) end, permits: 1 + rem(n, 3))
        busy(:rand.uniform(300))
        Process.exit(pid, :kill)
        assert await_down(monitor) in [:normal, :killed]
        # This process has seen the `:DOWN`, so it must find the permits free.
        assert Pool.try_acquire(pool, 3) == :ok
        assert Pool.release(pool, 3) == :ok
      end

      assert_whole(pool, 3)
      # The pool has counted each permit once.
      assert Pool.info(pool).released_by_exit == Enum.sum(for n <- 1..@kills, do: 1 + rem(n, 3))
    end
  end

  test "killed children and spawners lose no permit" do
    for pool <- both(limit: 5) do
      work = fn ->
        forever(fn ->
          with {:ok, pid} <- Penstock.spawn(pool, fn -> busy(500) end, permits: :rand.uniform(2), timeout: 1) do
            if :rand.uniform(2) == 1, do: Process.exit(pid, :kill)
          end
        end)
      end

      @kills |> storm(4, work) |> kill_all()
      assert_whole(pool, 5)
    end
  end

  test "a killed owner loses no permit of holders and waiters" do
    name = start_owner_supervisor(limit: 3)

    work = fn ->
      forever(fn ->
        case Pool.acquire(name, timeout: 2) do
          :ok -> :ok = Pool.release(name)
          {:error, :timeout} -> :ok
        end

        Penstock.run(name, fn -> :ok end, timeout: 0)
      end)
    end

    holder = holder(name)
    workers = for _ <- 1..4, do: spawn(work)
    on_exit(fn -> Enum.each(workers, &Process.exit(&1, :kill)) end)

    for _ <- 1..300 do
      owner = Pool.info(name).owner
      kill(owner)
      eventually(fn -> (now = Pool.info(name).owner) != owner and Process.alive?(now) end)
    end

    # A worker that gets an answer other than `:ok` or `:timeout` crashes.
    assert Enum.all?(workers, &Process.alive?/1)
    kill_all(workers)
    eventually(fn -> counts(name) == {1, 1, 0} end)
    assert tell(holder, fn -> Pool.release(name) end) == :ok
    assert_whole(name, 3)
  end

  # Starts a pool under a supervisor that restarts the owner after each kill. Returns its name.
  defp start_owner_supervisor(opts) do
    name = unique_name()
    children = [{Pool, [name: name] ++ opts}]
    options = [strategy: :one_for_one, max_restarts: 1_000_000, max_seconds: 1]
    start_supervised!(%{id: :often_killed, type: :supervisor, start: {Supervisor, :start_link, [children, options]}})
    name
  end

  test "living holders keep exactly their permits while other callers of the pool are killed" do
    for pool <- both(limit: 40) do
      survivors = for n <- 1..5, do: holder(pool, n)
      work = fn -> forever(fn -> Pool.acquire(pool, timeout: 1) end) end
      @kills |> storm(4, work) |> kill_all()
      eventually(fn -> counts(pool) == {15, 5, 0} end)
      assert Map.new(Pool.holders(pool), &{&1.pid, &1.permits}) == Map.new(Enum.zip(survivors, 1..5))
      for {pid, n} <- Enum.zip(survivors, 1..5), do: assert(tell(pid, fn -> Pool.release(pool, n) end) == :ok)
      assert_whole(pool, 40)
    end
  end

  describe "a process that saw the :DOWN of a holder gets its permit" do
    setup do
      %{watcher: actor()}
    end

    # Returns a holder, and the test's monitor of it. The monitors of a process fire in the order
    # in which they were made. The test's comes first, then `times` monitors of `watcher`, and the
    # pool's comes last. So the test sees the `:DOWN` before the pool does. Thousands of monitors
    # take the VM more than one time slice.
    defp mortal(pool, watcher, times \\ 300) do
      test = self()

      {pid, monitor} =
        spawn_monitor(fn ->
          receive do: (:go -> :ok)
          send(test, {:held, self(), Pool.acquire(pool)})
          receive do: (:never -> :ok)
        end)

      tell(watcher, fn ->
        flush_downs()
        for _ <- 1..times, do: Process.monitor(pid)
      end)

      send(pid, :go)
      assert_receive {:held, ^pid, :ok}
      {pid, monitor}
    end

    # Kills the holder, and polls for its `:DOWN`. The VM would wake a process that blocks in a
    # receive only later. By then the pool's monitor may have fired, and the test would prove
    # nothing.
    defp kill_and_see({pid, monitor}) do
      Process.exit(pid, :kill)
      see(monitor)
    end

    defp see(monitor) do
      receive do
        {:DOWN, ^monitor, :process, _, _} -> :ok
      after
        0 -> see(monitor)
      end
    end

    for limit <- [1, 8] do
      test "by try_acquire on a pool of #{limit}, 1,000 times in a row", %{watcher: watcher} do
        for pool <- both(limit: unquote(limit)) do
          others = for _ <- 2..unquote(limit)//1, do: mortal(pool, watcher)

          for _ <- 1..1_000 do
            kill_and_see(mortal(pool, watcher))
            assert Pool.try_acquire(pool) == :ok
            assert Pool.release(pool) == :ok
          end

          kill_all(for {pid, _} <- others, do: pid)
          eventually(fn -> counts(pool) == {0, 0, 0} end)
        end
      end
    end

    test "by try_acquire, though 5,000 living processes held permits before", %{watcher: watcher} do
      for pool <- both(limit: 5_000) do
        test = self()

        idle =
          for _ <- 1..5_000 do
            spawn(fn ->
              :ok = Pool.acquire(pool)
              :ok = Pool.release(pool)
              send(test, :idle)
              receive do: (:never -> :ok)
            end)
          end

        on_exit(fn -> Enum.each(idle, &Process.exit(&1, :kill)) end)
        for _ <- idle, do: assert_receive(:idle)
        Pool.update(pool, limit: 1)

        for _ <- 1..100 do
          mortal = mortal(pool, watcher, 2_000)
          assert Pool.try_acquire(pool) == {:error, :full}
          kill_and_see(mortal)
          assert Pool.try_acquire(pool) == :ok
          assert Pool.release(pool) == :ok
        end
      end
    end

    test "by try_acquire, when a crowd of holders has shrunk to 8", %{watcher: watcher} do
      for pool <- both(limit: 20), leave <- [:release, :die], _ <- 1..30 do
        mortal = mortal(pool, watcher, 5_000)
        [heir | _] = others = for _ <- 1..19, do: holder(pool)
        # At each refusal the pool looks at its holders, and records that they are many.
        for _ <- 1..3, do: assert(Pool.try_acquire(pool) == {:error, :full})

        for pid <- Enum.take(others, -12) do
          if leave == :release, do: :ok = tell(pid, fn -> Pool.release(pool) end), else: kill(pid)
        end

        assert tell(heir, fn -> Pool.acquire(pool, permits: 12) end) == :ok
        assert Pool.try_acquire(pool) == {:error, :full}
        kill_and_see(mortal)
        assert Pool.try_acquire(pool) == :ok
        assert Pool.release(pool) == :ok
        kill_all(others)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end

    test "by run and spawn on a pool of 8", %{watcher: watcher} do
      for pool <- both(limit: 8) do
        others = for _ <- 1..7, do: mortal(pool, watcher)

        for _ <- 1..200 do
          kill_and_see(mortal(pool, watcher))
          assert Penstock.run(pool, fn -> :ran end, timeout: 0) == {:ok, :ran}
          kill_and_see(mortal(pool, watcher))
          assert {:ok, {_, monitor}} = Penstock.spawn_monitor(pool, fn -> :ok end)
          see(monitor)
        end

        kill_all(for {pid, _} <- others, do: pid)
      end
    end

    test "by try_acquire, also if it saw an :EXIT of a linked holder instead" do
      Process.flag(:trap_exit, true)

      for pool <- both(limit: 1), _ <- 1..500 do
        {:ok, pid} = Penstock.spawn_link(pool, fn -> receive do: (:never -> :ok) end)
        Process.exit(pid, :kill)
        assert_receive {:EXIT, ^pid, :killed}
        assert Pool.try_acquire(pool) == :ok
        assert Pool.release(pool) == :ok
      end
    end

    test "by acquire, among 100 holders and a flood of other requests", %{watcher: watcher} do
      for pool <- both(limit: 100) do
        others = for _ <- 1..99, do: holder(pool)

        flood =
          for _ <- 1..2 do
            spawn(fn ->
              forever(fn -> for _ <- 1..100, Pool.try_acquire(pool) == :ok, do: :ok = Pool.release(pool) end)
            end)
          end

        on_exit(fn -> Enum.each(flood, &Process.exit(&1, :kill)) end)

        for _ <- 1..1_000 do
          kill_and_see(mortal(pool, watcher))
          assert Pool.acquire(pool, timeout: 5_000) == :ok
          assert Pool.release(pool) == :ok
        end

        kill_all(flood ++ others)
        assert_whole(pool, 100)
      end
    end
  end
end
