defmodule Penstock.PoolInfoTest do
  use Penstock.PoolCase, async: true

  describe "info/1" do
    test "of a new pool has all fields" do
      name = start_pool(limit: 3)

      assert %{owner: owner} = info = Pool.info(name)
      assert is_pid(owner)

      assert info == %{
               name: name,
               status: :open,
               owner: owner,
               limit: 3,
               in_use: 0,
               available: 3,
               overdraft: 0,
               waiting: 0,
               max_waiting: 1_000,
               holders: 0,
               peak: 0,
               acquired: 0,
               rejected: 0,
               timed_out: 0,
               released_by_exit: 0,
               killed: 0
             }

      assert Pool.info(Pool.new(limit: 3)) == %{info | name: nil, owner: nil}
    end

    test "in_use, available and holders follow what is held" do
      for pool <- both(limit: 10) do
        pids = for n <- 1..3, do: holder(pool, n)
        assert %{in_use: 6, available: 4, overdraft: 0, holders: 3} = Pool.info(pool)
        {:ok, _} = Penstock.spawn(pool, fn -> receive do: (:stop -> :ok) end, permits: 2)
        assert %{in_use: 8, available: 2, holders: 4} = Pool.info(pool)
        Penstock.run(pool, fn -> assert %{in_use: 9, holders: 5} = Pool.info(pool) end)
        [first | _] = pids
        assert tell(first, fn -> Pool.release(pool) end) == :ok
        assert %{in_use: 7, available: 3, holders: 3} = Pool.info(pool)
        Pool.update(pool, limit: 2)
        assert %{in_use: 7, available: 0, overdraft: 5, limit: 2} = Pool.info(pool)
      end
    end

    test "peak is the most permits that were held at once, also after a grant" do
      for pool <- both(limit: 10) do
        :ok = Pool.acquire(pool, permits: 4)
        :ok = Pool.release(pool, 4)
        :ok = Pool.acquire(pool)
        assert Pool.info(pool).peak == 4
        :ok = Pool.acquire(pool, permits: 5)
        assert Pool.info(pool).peak == 6
        Pool.update(pool, limit: 3)
        assert Pool.info(pool).peak == 6
        # A grant to a waiter counts as well.
        Pool.update(pool, limit: 6)
        {_, ref} = park(pool, permits: 2)
        Pool.update(pool, limit: 8)
        assert answer(ref) == :ok
        assert Pool.info(pool).peak == 8
      end
    end

    test "acquired counts the admitted requests of each function" do
      for pool <- both(limit: 4) do
        :ok = Pool.try_acquire(pool)
        :ok = Pool.acquire(pool, permits: 2)
        {:ok, _} = Penstock.run(pool, fn -> :ok end)
        {:ok, {_, ref}} = Penstock.spawn_monitor(pool, fn -> :ok end)
        await_down(ref)
        assert Pool.info(pool).acquired == 4
        :ok = Pool.acquire(pool)
        {_, ref} = park(pool, permits: 2)
        :ok = Pool.release(pool, 4)
        assert answer(ref) == :ok
        assert Pool.info(pool).acquired == 6
      end
    end

    test "acquired still counts callers that are dead" do
      for pool <- both(limit: 40) do
        for pid <- for(_ <- 1..40, do: holder(pool)), do: kill(pid)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
        assert %{acquired: 40, released_by_exit: 40, peak: peak} = Pool.info(pool)
        assert peak == 40
      end
    end

    test "rejected counts :full, :queue_full and :closed, of every function" do
      for pool <- both(limit: 1, max_waiting: 1) do
        :ok = Pool.acquire(pool)
        {:error, :full} = Pool.try_acquire(pool)
        {:error, :full} = Pool.try_acquire(pool, 2)
        {:error, :full} = Pool.acquire(pool, timeout: 0)
        {:error, :full} = Pool.acquire(pool, permits: 2)
        assert Pool.info(pool).rejected == 4
        {:error, :full} = Penstock.run(pool, fn -> :never end, timeout: 0)
        {:error, :full} = Penstock.run(pool, fn -> :never end, permits: 2)
        {:error, :full} = Penstock.spawn(pool, fn -> :never end)
        {:error, :full} = Penstock.spawn(pool, fn -> :never end, permits: 2, timeout: 5)
        assert Pool.info(pool).rejected == 8
        {_, ref} = park(pool)
        {:error, :queue_full} = Pool.acquire(pool)
        {:error, :queue_full} = Penstock.run(pool, fn -> :never end)
        {:error, :queue_full} = Penstock.spawn(pool, fn -> :never end, timeout: 5)
        assert Pool.info(pool).rejected == 11
        {:error, _} = Pool.drain(pool, 0)
        assert answer(ref) == {:error, :closed}
        assert Pool.info(pool).rejected == 12
        {:error, :closed} = Pool.try_acquire(pool)
        {:error, :closed} = Pool.acquire(pool)
        assert %{rejected: 14, timed_out: 0, acquired: 1} = Pool.info(pool)
      end
    end

    test "rejected counts a waiter that an update refused" do
      for pool <- both(limit: 3) do
        :ok = Pool.acquire(pool, permits: 3)
        {_, ref} = park(pool, permits: 3)
        Pool.update(pool, limit: 2)
        assert answer(ref) == {:error, :full}
        assert Pool.info(pool).rejected == 1
      end
    end

    test "timed_out counts :timeout, of every function that waits" do
      for pool <- both(limit: 1) do
        holder(pool)
        {:error, :timeout} = Pool.acquire(pool, timeout: 1)
        {:error, :timeout} = Penstock.run(pool, fn -> :never end, timeout: 1)
        {:error, :timeout} = Penstock.spawn(pool, fn -> :never end, timeout: 1)
        assert %{timed_out: 3, rejected: 0, acquired: 1} = Pool.info(pool)
      end
    end

    test "released_by_exit counts permits, bound or not" do
      for pool <- both(limit: 9) do
        kill(holder(pool, 2))
        {:ok, {_, ref}} = Penstock.spawn_monitor(pool, fn -> :ok end, permits: 3)
        await_down(ref)
        pid = actor()
        ask(pid, fn -> Penstock.run(pool, fn -> receive do: (:never -> :ok) end, permits: 4) end)
        eventually(fn -> Pool.info(pool).in_use == 4 end)
        kill(pid)
        eventually(fn -> Pool.info(pool).released_by_exit == 9 end)
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "is exact at rest after concurrent requests" do
      for pool <- both(limit: 7, max_waiting: 3) do
        work = fn ->
          for n <- 1..500 do
            answer = Pool.acquire(pool, permits: 1 + rem(n, 8), timeout: rem(n, 3))
            if answer == :ok, do: :ok = Pool.release(pool, 1 + rem(n, 8))
            answer
          end
        end

        answers = for(_ <- 1..6, do: ask(actor(), work)) |> Enum.flat_map(&answer/1) |> Enum.frequencies()
        count = fn reasons -> answers |> Map.take(reasons) |> Map.values() |> Enum.sum() end
        info = Pool.info(pool)
        assert info.acquired == count.([:ok])
        assert info.rejected == count.([{:error, :full}, {:error, :queue_full}])
        assert info.timed_out == count.([{:error, :timeout}])
        assert {info.in_use, info.holders, info.waiting, info.released_by_exit} == {0, 0, 0, 0}
        assert info.peak <= 7
      end
    end
  end

  describe "holders/1" do
    test "of an idle pool is empty" do
      for pool <- both(limit: 3) do
        assert Pool.holders(pool) == []
        :ok = Pool.acquire(pool)
        :ok = Pool.release(pool)
        assert Pool.holders(pool) == []
      end
    end

    test "has each holder once, with its bound and its other permits" do
      for pool <- both(limit: 20) do
        one = holder(pool, 3)
        {:ok, two} = Penstock.spawn(pool, fn -> receive do: (:stop -> :ok) end, permits: 2)

        Penstock.run(pool, fn ->
          :ok = Pool.acquire(pool, permits: 4)
          found = Map.new(Pool.holders(pool), &{&1.pid, &1.permits})
          assert found == %{one => 3, two => 2, self() => 5}
          :ok = Pool.release(pool, 4)
        end)

        assert Enum.sort(for %{pid: pid, permits: n, held_ms: ms} <- Pool.holders(pool), ms >= 0, do: {n, pid}) ==
                 [{2, two}, {3, one}]
      end
    end

    test "is ordered by age, oldest first, exact to about 10 ms" do
      for pool <- both(limit: 3) do
        on_time(fn ->
          # The holders begin 40 ms apart, because their ages must differ by more than 10 ms: the
          # pool's clock is no more exact than that.
          pids =
            for _ <- 1..3 do
              pid = holder(pool)
              receive after: (40 -> pid)
            end

          found = Pool.holders(pool)
          Enum.each(pids, &kill/1)
          eventually(fn -> counts(pool) == {0, 0, 0} end)
          assert Enum.map(found, & &1.pid) == pids
          [oldest, middle, youngest] = Enum.map(found, & &1.held_ms)
          assert youngest >= 25 and middle >= youngest + 25 and oldest >= middle + 25
        end)
      end
    end

    test "info/1 counts holders that are older than :held_longer_than" do
      for pool <- both(limit: 10, held_longer_than: 60) do
        old = for _ <- 1..2, do: holder(pool)
        eventually(fn -> match?([_oldest, %{held_ms: age}] when age > 75, Pool.holders(pool)) end)
        young = holder(pool)
        info = Pool.info(pool)
        # On a busy machine, the young holder may be over 60 ms old when `info/1` reads the clock.
        ages = for %{held_ms: age} <- Pool.holders(pool), do: age
        assert info.held_longer_than == 2 or Enum.min(ages) > 50
        Enum.each([young | old], &kill/1)
        eventually(fn -> Pool.info(pool).held_longer_than == 0 end)
      end

      refute Map.has_key?(Pool.info(Pool.new(limit: 1)), :held_longer_than)

      for value <- [0, -1, 1.5, :infinity, "1", 2_147_483_648] do
        error = assert_raise ArgumentError, fn -> Pool.new(limit: 1, held_longer_than: value) end
        message = "expected :held_longer_than to be a number of milliseconds between 1 and 2147483647, got: "
        assert error.message == message <> inspect(value)
      end
    end

    test "counts the age from when the process last began to hold permits" do
      for pool <- both(limit: 3) do
        on_time(fn ->
          pid = holder(pool)
          receive after: (60 -> :ok)
          # A second permit does not reset the age. A moment without permits does.
          :ok = tell(pid, fn -> Pool.acquire(pool) end)
          [%{held_ms: old}] = Pool.holders(pool)
          :ok = tell(pid, fn -> Pool.release(pool, 2) end)
          began = System.monotonic_time(:millisecond)
          :ok = tell(pid, fn -> Pool.acquire(pool) end)
          [%{held_ms: young}] = Pool.holders(pool)
          passed = System.monotonic_time(:millisecond) - began
          kill(pid)
          eventually(fn -> counts(pool) == {0, 0, 0} end)
          assert old >= 40
          assert young <= passed + 15
        end)
      end
    end

    test "returns at most 1,000 holders, the oldest" do
      on_time(fn ->
        pool = Pool.new(limit: :infinity)
        old = hold_each(pool, 600)
        receive after: (60 -> :ok)
        young = hold_each(pool, 600)
        found = Enum.map(Pool.holders(pool), & &1.pid)
        Enum.each(old ++ young, &Process.exit(&1, :kill))
        assert length(Enum.uniq(found)) == 1_000
        assert length(found) == 1_000
        assert found |> Enum.take(600) |> Enum.sort() == Enum.sort(old)
      end)
    end

    defp hold_each(pool, count) do
      test = self()

      pids =
        for _ <- 1..count do
          spawn(fn ->
            :ok = Pool.acquire(pool)
            send(test, {:held, self()})
            receive do: (:stop -> :ok)
          end)
        end

      for pid <- pids, do: assert_receive({:held, ^pid})
      pids
    end

    # Calls `fun` again if its assertions fail, because on a busy machine the pool's clock may be
    # late.
    defp on_time(fun, tries \\ 10) do
      fun.()
    rescue
      error in ExUnit.AssertionError ->
        if tries == 1, do: reraise(error, __STACKTRACE__)
        on_time(fun, tries - 1)
    end
  end
end
