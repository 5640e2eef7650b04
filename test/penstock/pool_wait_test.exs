defmodule Penstock.PoolWaitTest do
  use Penstock.PoolCase, async: true

  describe "the wait queue" do
    test "is served first come, first served" do
      for pool <- both(limit: 50) do
        :ok = Pool.acquire(pool, permits: 50)
        test = self()

        for place <- 1..50 do
          pid = actor()

          ask(pid, fn ->
            :ok = Pool.acquire(pool, timeout: :infinity)
            send(test, {:served, place})
          end)

          await_waiting(pool, place)
        end

        for place <- 1..50 do
          :ok = Pool.release(pool)
          assert_receive {:served, ^place}
          assert Pool.info(pool).waiting == 50 - place
        end

        refute_received {:served, _}
        assert counts(pool) == {50, 50, 0}
      end
    end

    test "is served in order by one release of many permits, and by an update" do
      for pool <- both(limit: 3) do
        :ok = Pool.acquire(pool, permits: 3)
        waiters = for _ <- 1..6, do: park(pool)
        :ok = Pool.release(pool, 3)
        {served, others} = Enum.split(waiters, 3)
        for {_, ref} <- served, do: assert(answer(ref) == :ok)
        assert counts(pool) == {3, 3, 3}
        Pool.update(pool, limit: 5)
        {served, [{_, last}]} = Enum.split(others, 2)
        for {_, ref} <- served, do: assert(answer(ref) == :ok)
        assert counts(pool) == {5, 5, 1}
        Pool.update(pool, limit: :infinity)
        assert answer(last) == :ok
      end
    end

    test "is not overtaken by try_acquire, acquire with timeout 0, run or spawn" do
      for pool <- both(limit: 3) do
        :ok = Pool.acquire(pool, permits: 3)
        {_, ref} = park(pool, permits: 3)
        :ok = Pool.release(pool, 2)
        assert %{available: 2, waiting: 1} = Pool.info(pool)
        assert Pool.try_acquire(pool) == {:error, :full}
        assert Pool.try_acquire(pool, 2) == {:error, :full}
        assert Pool.acquire(pool, timeout: 0) == {:error, :full}
        assert Penstock.run(pool, fn -> :never end, timeout: 0) == {:error, :full}
        assert Penstock.spawn(pool, fn -> :never end) == {:error, :full}
        assert %{available: 2, waiting: 1} = Pool.info(pool)
        :ok = Pool.release(pool)
        assert answer(ref) == :ok
      end
    end

    test "serves a large request at its head before small ones behind it" do
      for pool <- both(limit: 4) do
        :ok = Pool.acquire(pool, permits: 4)
        {large, large_ref} = park(pool, permits: 4)
        {_, small_ref} = park(pool)
        for _ <- 1..3, do: :ok = Pool.release(pool)
        assert %{in_use: 1, waiting: 2} = Pool.info(pool)
        :ok = Pool.release(pool)
        assert answer(large_ref) == :ok
        assert counts(pool) == {4, 1, 1}
        refute_received {^small_ref, _}
        assert tell(large, fn -> Pool.release(pool) end) == :ok
        assert answer(small_ref) == :ok
      end
    end

    test "goes on when a large request at its head times out, or its process is killed" do
      for pool <- both(limit: 4) do
        _holder = holder(pool, 2)
        {_, large_ref} = park(pool, permits: 4, timeout: 1_000)
        {_, small_ref} = park(pool)
        assert answer(large_ref) == {:error, :timeout}
        assert answer(small_ref) == :ok

        {large, large_ref} = park(pool, permits: 4)
        {_, small_ref} = park(pool)
        kill(large)
        assert {:DOWN, :killed} = answer(large_ref)
        assert answer(small_ref) == :ok
        assert counts(pool) == {4, 3, 0}
      end
    end

    test "gives the permits of a holder that dies to its head" do
      for pool <- both(limit: 3) do
        pid = holder(pool, 3)
        waiters = for _ <- 1..3, do: park(pool)
        kill(pid)
        for {_, ref} <- waiters, do: assert(answer(ref) == :ok)
        assert counts(pool) == {3, 3, 0}
      end
    end

    test "serves acquire, run and spawn in one order" do
      for pool <- both(limit: 1) do
        :ok = Pool.acquire(pool)
        runner = actor()
        run_ref = ask(runner, fn -> Penstock.run(pool, fn -> :ran end, timeout: :infinity) end)
        await_waiting(pool, 1)
        spawner = actor()
        spawn_ref = ask(spawner, fn -> Penstock.spawn(pool, fn -> :ok end, timeout: :infinity) end)
        await_waiting(pool, 2)
        {_, ref} = park(pool)
        :ok = Pool.release(pool)
        assert answer(run_ref) == {:ok, :ran}
        assert {:ok, pid} = answer(spawn_ref)
        assert is_pid(pid)
        assert answer(ref) == :ok
        assert counts(pool) == {1, 1, 0}
      end
    end

    test "can have 3,000 waiters" do
      pool = Pool.new(limit: 1, max_waiting: 3_000)
      :ok = Pool.acquire(pool)
      test = self()

      pids =
        for n <- 1..3_000 do
          pid =
            spawn(fn ->
              :ok = Pool.acquire(pool, timeout: :infinity)
              send(test, {:passed, n})
              :ok = Pool.release(pool)
            end)

          await_waiting(pool, n)
          pid
        end

      on_exit(fn -> Enum.each(pids, &Process.exit(&1, :kill)) end)
      :ok = Pool.release(pool)
      passed = for _ <- 1..3_000, do: assert_receive({:passed, _})
      assert length(passed) == 3_000
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end
  end

  describe "max_waiting" do
    test "refuses a caller that comes when max_waiting callers wait" do
      for pool <- both(limit: 1, max_waiting: 2) do
        :ok = Pool.acquire(pool)
        {first, _} = park(pool)
        _second = park(pool)
        assert Pool.acquire(pool) == {:error, :queue_full}
        assert Penstock.run(pool, fn -> :never end) == {:error, :queue_full}
        assert Penstock.spawn(pool, fn -> :never end, timeout: 10) == {:error, :queue_full}
        kill(first)
        eventually(fn -> Pool.info(pool).waiting == 1 end)
        _third = park(pool)
        assert Pool.acquire(pool) == {:error, :queue_full}
        assert Pool.info(pool).rejected == 4
      end
    end

    test "of 0 refuses every wait, and admits while a permit is free" do
      for pool <- both(limit: 1, max_waiting: 0) do
        assert Pool.acquire(pool) == :ok
        assert Pool.acquire(pool) == {:error, :queue_full}
        assert Pool.acquire(pool, permits: 2) == {:error, :full}
        assert Pool.release(pool) == :ok
        assert Pool.acquire(pool) == :ok
        assert Pool.release(pool) == :ok
        # If a refusal above had left its caller in the queue, this request would be refused.
        assert Pool.try_acquire(pool) == :ok
      end
    end

    test "below the number of waiters keeps them, and refuses further ones" do
      for pool <- both(limit: 1, max_waiting: 3) do
        :ok = Pool.acquire(pool)
        waiters = for _ <- 1..3, do: park(pool)
        Pool.update(pool, max_waiting: 1)
        assert Pool.info(pool).waiting == 3
        assert Pool.acquire(pool) == {:error, :queue_full}
        Pool.update(pool, max_waiting: 4)
        {_, last} = park(pool)
        Pool.update(pool, limit: 9)
        for {_, ref} <- waiters, do: assert(answer(ref) == :ok)
        assert answer(last) == :ok
      end
    end
  end

  describe "limit 0" do
    test "is a pause: requests of any size wait" do
      for pool <- both(limit: 0) do
        waiters = for permits <- [1, 5, 2_147_483_647], do: park(pool, permits: permits)
        assert counts(pool) == {0, 0, 3}
        assert Pool.acquire(pool, permits: 7, timeout: 1) == {:error, :timeout}
        Pool.update(pool, limit: :infinity)
        for {_, ref} <- waiters, do: assert(answer(ref) == :ok)
      end
    end

    test "set by an update keeps the held permits, and admits no caller" do
      for pool <- both(limit: 3) do
        pid = holder(pool, 2)
        Pool.update(pool, limit: 0)
        assert %{in_use: 2, overdraft: 2, available: 0} = Pool.info(pool)
        {_, ref} = park(pool, permits: 3)
        assert Pool.try_acquire(pool) == {:error, :full}
        assert tell(pid, fn -> Pool.release(pool, 2) end) == :ok
        assert counts(pool) == {0, 0, 1}
        Pool.update(pool, limit: 3)
        assert answer(ref) == :ok
      end
    end

    test "raised to less than a waiter asks for refuses that waiter" do
      for pool <- both(limit: 0) do
        {_, large} = park(pool, permits: 5)
        {_, small} = park(pool, permits: 2)
        Pool.update(pool, limit: 4)
        assert answer(large) == {:error, :full}
        assert answer(small) == :ok
      end
    end
  end

  describe "update" do
    test "to a limit below the requests of some waiters refuses those waiters only" do
      for pool <- both(limit: 10) do
        _holder = holder(pool, 10)
        sizes = [2, 9, 1, 10, 4, 3]
        waiters = for size <- sizes, do: {size, park(pool, permits: size)}
        Pool.update(pool, limit: 3)

        for {size, {_, ref}} <- waiters, size > 3, do: assert(answer(ref) == {:error, :full})
        assert %{waiting: 3, overdraft: 7} = Pool.info(pool)
        Pool.update(pool, limit: 16)
        for {size, {_, ref}} <- waiters, size <= 3, do: assert(answer(ref) == :ok)
        assert counts(pool) == {16, 4, 0}
      end
    end

    test "to a limit below the held permits admits no waiter until the overdraft is paid back" do
      for pool <- both(limit: 4) do
        pid = holder(pool, 4)
        {_, ref} = park(pool)
        Pool.update(pool, limit: 2)
        assert %{in_use: 4, overdraft: 2, available: 0} = Pool.info(pool)
        assert tell(pid, fn -> Pool.release(pool, 2) end) == :ok
        assert %{in_use: 2, overdraft: 0, waiting: 1} = Pool.info(pool)
        refute_received {^ref, _}
        assert tell(pid, fn -> Pool.release(pool) end) == :ok
        assert answer(ref) == :ok
        assert Pool.try_acquire(pool) == {:error, :full}
      end
    end

    test "to a larger limit wakes the waiters that fit below the limit, and no others" do
      for pool <- both(limit: 2) do
        :ok = Pool.acquire(pool, permits: 2)
        {_, first} = park(pool)
        {_, second} = park(pool, permits: 2)
        Pool.update(pool, limit: 4)
        assert answer(first) == :ok
        assert %{waiting: 1, in_use: 3, available: 1} = Pool.info(pool)
        Pool.update(pool, limit: 5)
        assert answer(second) == :ok
      end
    end
  end

  describe "a timeout" do
    test "leaves no message, no waiter and no permit" do
      for pool <- both(limit: 1) do
        pid = holder(pool)
        for timeout <- [1, 2, 20], do: assert(Pool.acquire(pool, timeout: timeout) == {:error, :timeout})
        assert counts(pool) == {1, 1, 0}
        assert tell(pid, fn -> Pool.release(pool) end) == :ok
        assert Pool.try_acquire(pool) == :ok
        assert mailbox() == []
        assert Pool.info(pool).timed_out == 3
      end
    end

    test "never comes early" do
      pool = Pool.new(limit: 1)
      _holder = holder(pool)
      {micros, {:error, :timeout}} = :timer.tc(fn -> Pool.acquire(pool, timeout: 50) end)
      assert micros >= 50_000
    end

    test "that meets a grant loses no permit and leaves no message" do
      for pool <- both(limit: 2) do
        test = self()

        waiter = fn ->
          answers =
            for _ <- 1..300 do
              answer = Pool.acquire(pool, timeout: 1, permits: 1 + rem(System.unique_integer([:positive]), 2))
              if answer == :ok, do: :ok = give_back_everything(pool)
              answer
            end

          send(test, {:left_behind, mailbox()})
          Enum.frequencies(answers)
        end

        holder = fn ->
          for _ <- 1..300 do
            answer = Pool.acquire(pool, permits: 2, timeout: :infinity)
            # Holds the permits for 0.7 to 1.3 ms, about the 1 ms of the waiters' timeout, so that
            # grants and timeouts meet.
            busy_for(700 + :rand.uniform(600))
            if answer == :ok, do: :ok = Pool.release(pool, 2)
          end
        end

        refs = for work <- [holder, waiter, waiter, waiter, waiter], do: ask(actor(), work)
        [_ | frequencies] = Enum.map(refs, &answer/1)
        for _ <- 1..4, do: assert_received({:left_behind, []})
        timeouts = frequencies |> Enum.map(&Map.get(&1, {:error, :timeout}, 0)) |> Enum.sum()
        assert Enum.all?(frequencies, &(Map.keys(&1) -- [:ok, {:error, :timeout}] == []))
        assert Pool.info(pool).timed_out == timeouts
        assert counts(pool) == {0, 0, 0}
        assert Pool.try_acquire(pool, 2) == :ok
      end
    end
  end

  # Releases one permit or two, as many as were requested.
  defp give_back_everything(pool) do
    with {:error, :not_held} <- Pool.release(pool, 2), do: Pool.release(pool)
  end

  defp busy_for(micros), do: busy_until(System.monotonic_time(:microsecond) + micros)

  defp busy_until(deadline) do
    if System.monotonic_time(:microsecond) < deadline, do: busy_until(deadline)
  end

  describe "a mailbox of 100,000 messages" do
    test "keeps its order, and a wait does not scan it" do
      pool = Pool.new(limit: 1)
      holder = holder(pool)
      pid = actor()

      wait = fn ->
        {:reductions, before} = Process.info(self(), :reductions)

        for _ <- 1..20 do
          {:error, :timeout} = Pool.acquire(pool, timeout: 1)
          {:error, {:timeout, 1}} = Pool.drain(pool, 1)
          :ok = Pool.reopen(pool)
        end

        {:reductions, later} = Process.info(self(), :reductions)
        later - before
      end

      # Another actor calls `wait` first, which loads all code. To load code, a process calls the
      # code server. The receive of the answer would scan the mailbox.
      tell(actor(), wait)

      reductions =
        tell(pid, fn ->
          for n <- 1..100_000, do: send(self(), {:noise, n})
          # A collection of these messages takes as many reductions as a scan of them, but it comes in
          # one run at most. A scan would be in each.
          :erlang.garbage_collect()
          Enum.min(for _ <- 1..3, do: wait.())
        end)

      # One scan of the mailbox would take 100,000 reductions.
      assert reductions < 50_000
      ref = ask(pid, fn -> {Pool.acquire(pool, timeout: :infinity), Enum.take(mailbox(), 2)} end)
      await_waiting(pool, 1)
      :ok = tell(holder, fn -> Pool.release(pool) end)
      assert answer(ref) == {:ok, [{:noise, 1}, {:noise, 2}]}
      Process.exit(pid, :kill)
    end
  end

  describe "a waiter that is killed" do
    test "leaves the wait queue, and the others are served" do
      for pool <- both(limit: 1) do
        pid = holder(pool)
        waiters = for _ <- 1..20, do: park(pool)
        {killed, others} = Enum.split_with(Enum.with_index(waiters), fn {_, n} -> rem(n, 2) == 0 end)
        for {{waiter, _}, _} <- killed, do: kill(waiter)
        await_waiting(pool, 10)
        assert %{timed_out: 0, rejected: 0, released_by_exit: 0, in_use: 1} = Pool.info(pool)
        tell(pid, fn -> Pool.release(pool) end)

        for {{waiter, ref}, _} <- others do
          assert answer(ref) == :ok
          kill(waiter)
        end

        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end

    test "together with the holder passes the permit on to the next waiter" do
      for pool <- both(limit: 1), _ <- 1..50 do
        holder = holder(pool)
        {first, _} = park(pool)
        {last, ref} = park(pool)
        monitor = Process.monitor(first)
        Process.exit(holder, :kill)
        Process.exit(first, :kill)
        await_down(monitor)
        assert answer(ref) == :ok
        kill(last)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end
  end

  describe "a process that holds permits" do
    test "can wait for more permits, which others hold" do
      for pool <- both(limit: 3) do
        :ok = Pool.acquire(pool, permits: 2)
        pid = holder(pool)
        ask(pid, fn -> eventually(fn -> Pool.info(pool).waiting == 1 end) && Pool.release(pool) end)
        assert Pool.acquire(pool) == :ok
        assert Pool.release(pool, 3) == :ok
      end
    end

    test "never waits for permits that it holds itself" do
      for pool <- both(limit: 1) do
        :ok = Pool.acquire(pool)
        assert Pool.acquire(pool, timeout: :infinity) == {:error, :deadlock}
        assert Pool.release(pool) == :ok
        assert Pool.release(pool) == {:error, :not_held}
      end
    end

    test "releases acquired and granted permits in one call" do
      for pool <- both(limit: 5) do
        :ok = Pool.acquire(pool, permits: 2)
        pid = holder(pool, 3)
        ref = ask(pid, fn -> eventually(fn -> Pool.info(pool).waiting == 1 end) && Pool.release(pool, 2) end)
        assert Pool.acquire(pool, permits: 2) == :ok
        assert answer(ref) == :ok
        assert Pool.release(pool, 5) == {:error, :not_held}
        assert Pool.release(pool, 4) == :ok
        assert counts(pool) == {1, 1, 0}
      end
    end
  end

  describe "a suspended waiter" do
    test "can be granted a permit, which its death returns" do
      for pool <- both(limit: 1) do
        :ok = Pool.acquire(pool)
        {pid, _ref} = park(pool)
        :erlang.suspend_process(pid)
        :ok = Pool.release(pool)
        assert counts(pool) == {1, 1, 0}
        kill(pid)
        assert Pool.try_acquire(pool) == :ok
      end
    end
  end
end
