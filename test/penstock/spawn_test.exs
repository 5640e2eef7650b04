defmodule Penstock.SpawnTest do
  # Tests processes that hold permits of a pool. Most cases run for spawn, spawn_link and
  # spawn_monitor, and for a pool with a name and one without.
  #
  # | scenario                              | rules out                                         |
  # |---------------------------------------|---------------------------------------------------|
  # | six ways to end, a heap too large     | a permit that stays after the process has ended   |
  # | a full, draining or closed pool       | a call of the function; a wait without `:timeout` |
  # | permits of the caller and the process | a release or transfer of bound permits by a call  |
  # | links and monitors                    | a link or monitor that was not asked for          |
  # | concurrent and recursive spawners     | more processes than the limit                     |
  # | a VM without room for a process       | a permit that stays after `SystemLimitError`      |
  # | a second offer before the handoff     | a permit that is lost                             |
  use Penstock.PoolCase, async: true

  import Penstock.CrashReports

  alias Penstock.{ChildJobs, ChildVM}

  @functions [:spawn, :spawn_link, :spawn_monitor]

  # Calls one of the three functions. Returns `{:ok, {pid, monitor}}` for each of them, or the
  # refusal.
  defp start(function, pool, fun, opts \\ []) do
    case apply(Penstock, function, [pool, fun, opts]) do
      {:ok, {pid, monitor}} -> {:ok, {pid, monitor}}
      {:ok, pid} -> {:ok, {pid, Process.monitor(pid)}}
      error -> error
    end
  end

  defp stay, do: receive(do: ({:exit, reason} -> exit(reason)))

  for function <- @functions do
    describe "#{function}/3" do
      @function function

      test "calls the function in a process that holds the permit until it ends" do
        for pool <- both(limit: 2) do
          test = self()

          fun = fn ->
            send(test, {:running, self(), Enum.map(Pool.holders(pool), &{&1.pid, &1.permits})})
            stay()
          end

          assert {:ok, {pid, monitor}} = start(@function, pool, fun)
          assert_receive {:running, ^pid, [{^pid, 1}]}
          assert pid != self()
          assert counts(pool) == {1, 1, 0}
          send(pid, {:exit, :normal})
          assert await_down(monitor) == :normal
          assert Pool.try_acquire(pool, 2) == :ok
          assert mailbox() == []
        end
      end

      # The VM logs a crash report for each process that raises or throws.
      @tag :capture_log
      test "returns the permit however the process ends" do
        Process.flag(:trap_exit, true)

        for pool <- both(limit: 1), reason <- [:normal, :shutdown, :crash, :kill, :raise, :throw] do
          fun = fn ->
            case reason do
              :raise -> :erlang.error(:burst)
              :throw -> throw(:ball)
              :kill -> stay()
              reason -> exit(reason)
            end
          end

          assert {:ok, {pid, monitor}} = start(@function, pool, fun)
          if reason == :kill, do: Process.exit(pid, :kill)
          await_down(monitor)
          assert Pool.try_acquire(pool) == :ok
          assert Pool.release(pool) == :ok
          if @function == :spawn_link, do: assert_receive({:EXIT, ^pid, _})
          assert mailbox() == []
        end

        await_crash_reports()
      end

      test "takes all permits that the caller asks for, or none" do
        for pool <- both(limit: 5), timeout <- [0, 5] do
          opts = [permits: 3, timeout: timeout]
          assert {:ok, {pid, monitor}} = start(@function, pool, &stay/0, opts)
          assert counts(pool) == {3, 1, 0}
          reason = if timeout == 0, do: :full, else: :timeout
          assert start(@function, pool, fn -> flunk("called") end, opts) == {:error, reason}
          assert start(@function, pool, fn -> flunk("called") end, permits: 6, timeout: timeout) == {:error, :full}
          assert counts(pool) == {3, 1, 0}
          send(pid, {:exit, :normal})
          await_down(monitor)
          assert Pool.acquire(pool, permits: 5) == :ok
          assert Pool.release(pool, 5) == :ok
        end
      end

      test "waits only with a :timeout" do
        for pool <- both(limit: 1, max_waiting: 1) do
          holder = holder(pool)
          assert start(@function, pool, fn -> flunk("called") end) == {:error, :full}
          assert start(@function, pool, fn -> flunk("called") end, timeout: 0) == {:error, :full}
          assert start(@function, pool, fn -> flunk("called") end, timeout: 5) == {:error, :timeout}
          {waiter, ref} = park(pool)
          assert start(@function, pool, fn -> flunk("called") end, timeout: 5) == {:error, :queue_full}
          kill(waiter)
          assert {:DOWN, :killed} = answer(ref)
          await_waiting(pool, 0)

          spawner = actor()
          ref = ask(spawner, fn -> {apply(Penstock, @function, [pool, &stay/0, [timeout: :infinity]]), mailbox()} end)
          await_waiting(pool, 1)
          assert tell(holder, fn -> Pool.release(pool) end) == :ok
          assert {{:ok, _}, []} = answer(ref)
          assert counts(pool) == {1, 1, 0}
          [%{pid: child}] = Pool.holders(pool)
          assert child != spawner
          kill(child)
          assert mailbox() == []
        end
      end

      test "is refused by a pool that drains" do
        for pool <- both(limit: 1), timeout <- [0, 5] do
          Pool.drain(pool)
          assert start(@function, pool, fn -> flunk("called") end, timeout: timeout) == {:error, :closed}
        end
      end

      test "leaves the caller's own permits alone" do
        for pool <- both(limit: 6) do
          :ok = Pool.acquire(pool, permits: 2)

          Penstock.run(pool, fn ->
            assert {:ok, {pid, _}} = start(@function, pool, &stay/0, permits: 2)
            assert counts(pool) == {5, 2, 0}
            assert Enum.sort(for h <- Pool.holders(pool), do: {h.permits, h.pid}) == [{2, pid}, {3, self()}]
            assert Pool.release(pool, 3) == {:error, :not_held}
          end)

          assert counts(pool) == {4, 2, 0}
          assert Pool.release(pool, 2) == :ok
          assert Pool.release(pool) == {:error, :not_held}
          assert counts(pool) == {2, 1, 0}
        end
      end

      test "binds the permits: the process itself can neither release nor transfer them" do
        for pool <- both(limit: 5) do
          test = self()

          fun = fn ->
            answers = [
              Pool.release(pool),
              Pool.release(pool, 2),
              Pool.transfer(pool, test),
              Pool.acquire(pool, permits: 3),
              Pool.release(pool, 4),
              Pool.transfer(pool, test, 4),
              Pool.release(pool, 2),
              Penstock.run(pool, fn -> Pool.release(pool, 2) end),
              Pool.release(pool),
              Pool.release(pool)
            ]

            send(test, {:answers, answers})
            stay()
          end

          assert {:ok, {pid, monitor}} = start(@function, pool, fun, permits: 2)
          assert_receive {:answers, answers}
          not_held = {:error, :not_held}

          assert answers ==
                   [not_held, not_held, not_held, :ok, not_held, not_held, :ok, {:ok, not_held}, :ok, not_held]

          assert counts(pool) == {2, 1, 0}
          send(pid, {:exit, :normal})
          await_down(monitor)
          assert Pool.acquire(pool, permits: 5) == :ok
        end
      end

      test "takes the options of :erlang.spawn_opt/4" do
        for pool <- both(limit: 5), timeout <- [0, 5] do
          spawn_opt = [
            priority: :low,
            min_heap_size: 5_000,
            fullsweep_after: 7,
            message_queue_data: :off_heap,
            max_heap_size: 1_000_000
          ]

          assert {:ok, {pid, _}} = start(@function, pool, &stay/0, spawn_opt: spawn_opt, timeout: timeout)

          assert [priority: :low, message_queue_data: :off_heap, garbage_collection: collection] =
                   Process.info(pid, [:priority, :message_queue_data, :garbage_collection])

          assert collection[:fullsweep_after] == 7
          assert collection[:min_heap_size] >= 5_000
          assert %{size: 1_000_000} = Map.new(collection[:max_heap_size])
          assert {:ok, _} = start(@function, pool, fn -> :ok end, spawn_opt: [])
        end
      end

      test "returns the permit when the heap grows beyond max_heap_size" do
        Process.flag(:trap_exit, true)
        spawn_opt = [max_heap_size: %{size: 2_000, kill: true, error_logger: false}]

        for pool <- both(limit: 2) do
          # The process waits for `:grow`, so that `start` can monitor it before it dies.
          fun = fn -> receive(do: (:grow -> grow([]))) end
          assert {:ok, {pid, monitor}} = start(@function, pool, fun, spawn_opt: spawn_opt, permits: 2)
          send(pid, :grow)
          assert await_down(monitor) == :killed
          assert Pool.try_acquire(pool, 2) == :ok

          # The next function carries a large term, so the first garbage collection of its process
          # kills that process.
          Pool.release(pool, 2)
          big = Enum.to_list(1..100_000)
          assert {:ok, {_, monitor}} = start(@function, pool, fn -> grow(big) end, spawn_opt: spawn_opt, permits: 2)
          assert await_down(monitor) in [:killed, :noproc]
          assert Pool.acquire(pool, permits: 2) == :ok
        end
      end
    end
  end

  # Grows the heap in small pieces until the VM kills the process. Large pieces would be slow:
  # once the VM has decided to kill a process, it copies the whole heap of the process for each of
  # them.
  defp grow(list), do: grow([length(Enum.take(list, 1)) | list])

  describe "link and monitor:" do
    test "spawn makes neither a link nor a monitor" do
      for pool <- both(limit: 1) do
        {:ok, pid} = Penstock.spawn(pool, &stay/0)
        info = Process.info(pid, [:links, :monitored_by, :trap_exit])
        assert info[:links] == []
        assert self() not in info[:monitored_by]
        assert info[:trap_exit] == false
        kill(pid)
      end
    end

    test "after spawn the process outlives the caller, with its permit" do
      for pool <- both(limit: 1) do
        caller = actor()
        {:ok, pid} = tell(caller, fn -> Penstock.spawn(pool, &stay/0) end)
        kill(caller)
        assert [%{pid: ^pid, permits: 1}] = Pool.holders(pool)
        kill(pid)
        assert Pool.acquire(pool) == :ok
      end
    end

    test "spawn_monitor makes a monitor and no link" do
      for pool <- both(limit: 1) do
        {:ok, {pid, ref}} = Penstock.spawn_monitor(pool, &stay/0)
        assert Process.info(pid, :links) == {:links, []}
        send(pid, {:exit, :reason})
        assert_receive {:DOWN, ^ref, :process, ^pid, :reason}
        assert mailbox() == []
      end
    end

    test "after spawn_link the caller dies with the process, and both return their permits" do
      for pool <- both(limit: 2) do
        caller = actor()
        :ok = tell(caller, fn -> Pool.acquire(pool) end)
        {:ok, pid} = tell(caller, fn -> Penstock.spawn_link(pool, &stay/0) end)
        assert Process.info(pid, :links) == {:links, [caller]}
        monitor = Process.monitor(caller)
        send(pid, {:exit, :crash})
        assert await_down(monitor) == :crash
        assert Pool.acquire(pool, permits: 2) == :ok
      end
    end

    test "after spawn_link the process dies with the caller, and both return their permits" do
      for pool <- both(limit: 2) do
        caller = actor()
        :ok = tell(caller, fn -> Pool.acquire(pool) end)
        {:ok, pid} = tell(caller, fn -> Penstock.spawn_link(pool, &stay/0) end)
        monitor = Process.monitor(pid)
        kill(caller)
        assert await_down(monitor) == :killed
        assert Pool.acquire(pool, permits: 2) == :ok
      end
    end

    test "after spawn_link the caller outlives a normal end of the process" do
      for pool <- both(limit: 2) do
        caller = actor()
        {:ok, pid} = tell(caller, fn -> Penstock.spawn_link(pool, fn -> :ok end) end)
        await_down(Process.monitor(pid))
        assert tell(caller, fn -> Process.info(self(), :links) end) == {:links, []}
      end
    end

    test "after spawn_link a caller that traps exits gets the exit" do
      Process.flag(:trap_exit, true)

      for pool <- both(limit: 1), reason <- [:normal, :crash] do
        {:ok, pid} = Penstock.spawn_link(pool, fn -> exit(reason) end)
        assert_receive {:EXIT, ^pid, ^reason}
        assert Pool.try_acquire(pool) == :ok
        assert Pool.release(pool) == :ok
        assert mailbox() == []
      end
    end
  end

  describe "the limit" do
    test "is never exceeded by four concurrent spawners" do
      for pool <- both(limit: 5) do
        inside = :atomics.new(3, [])

        child = fn ->
          if :atomics.add_get(inside, 1, 1) > 5, do: :atomics.add(inside, 2, 1)
          :erlang.yield()
          :atomics.add(inside, 3, 1)
          :atomics.sub(inside, 1, 1)
        end

        work = fn ->
          Enum.count(1..2_000, fn n ->
            match?({:ok, _}, start(Enum.at(@functions, rem(n, 3)), pool, child, timeout: rem(div(n, 3), 3)))
          end)
        end

        spawned = for(_ <- 1..4, do: ask(actor(), work)) |> Enum.map(&answer/1) |> Enum.sum()
        eventually(fn -> counts(pool) == {0, 0, 0} end)
        assert :atomics.get(inside, 2) == 0
        # Each child that was created ran once.
        assert :atomics.get(inside, 3) == spawned
        assert Pool.info(pool).acquired == spawned
        assert Pool.info(pool).peak <= 5
      end
    end

    test "is never exceeded by processes that spawn processes like themselves" do
      for pool <- both(limit: 20) do
        test = self()
        {:ok, _} = Penstock.spawn(pool, fn -> multiply(pool, test) end)
        # The 20 processes ask 100 times each, and 19 of the requests are admitted.
        for _ <- 1..(20 * 100 - 19), do: assert_receive(:refused)
        assert Pool.info(pool).peak == 20
        assert counts(pool) == {20, 20, 0}
        for %{pid: pid} <- Pool.holders(pool), do: Process.exit(pid, :kill)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end
  end

  # A spawn bomb that reports its refusals.
  defp multiply(pool, test) do
    for _ <- 1..100 do
      with {:error, :full} <- Penstock.spawn(pool, fn -> multiply(pool, test) end), do: send(test, :refused)
    end

    stay()
  end

  describe "a pool that closes" do
    test "keeps the process alive, and forgets its permit" do
      name = start_pool(limit: 1)
      {:ok, pid} = Penstock.spawn(name, &stay/0)
      stop_supervised!({Pool, name})
      assert Process.alive?(pid)
      start_pool(name: name, limit: 1)
      assert counts(name) == {0, 0, 0}
      assert Pool.try_acquire(name) == :ok
      kill(pid)
      assert counts(name) == {1, 1, 0}
      assert Pool.try_acquire(name) == {:error, :full}
    end
  end

  test "a spawn that the VM refuses has returned its permit before SystemLimitError is raised" do
    assert %{refused: refused, links: [], later: [ok: 10, ok: 10]} =
             ChildVM.run(ChildJobs, :system_limit, [], "+P 1024")

    assert length(refused) == 2 * 3 * 4
    assert Enum.uniq(refused) == [{SystemLimitError, true, []}]
  end

  describe "the native side" do
    test "refuses a second offer before the first is completed, and loses no permit" do
      for pool <- both(limit: 5) do
        ref = Penstock.Admission.Resolver.ref!(pool)
        offer = Penstock.Native.spawn_take(ref, 2)
        assert Penstock.Native.spawn_take(ref, 1) == :not_held
        assert Penstock.Native.spawn_try(ref, 1) == :not_held
        instance = Penstock.Native.run_take(ref, 1)
        assert Penstock.Native.spawn_offer(ref, instance, 1) == :not_held
        assert Pool.info(pool).in_use == 3
        assert Penstock.Native.run_end(ref, instance, 1) == :ok
        child = holder(pool)
        assert Penstock.Native.spawn_hand_over(ref, offer, child) == :ok
        assert counts(pool) == {3, 1, 0}
        # The first offer is completed, so the next one is accepted.
        assert {:ok, pid} = Penstock.spawn(pool, fn -> :ok end)
        assert is_pid(pid)
        kill(child)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end
  end
end
