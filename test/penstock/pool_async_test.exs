defmodule Penstock.PoolAsyncTest do
  # Waits of acquire_async/2, which end by a message. Also requests whose wait could never end:
  # the pool refuses these with `:deadlock`.
  #
  # | scenario                                   | rules out                             |
  # |--------------------------------------------|---------------------------------------|
  # | requests that are answered at once         | an answer other than by a message     |
  # | acquire/2 and acquire_async/2 in one queue | a request that overtakes another      |
  # | a full queue, a smaller limit, a drain     | a request without an answer           |
  # | timeouts, one or 500 at a time             | a wait that ends early, late or twice |
  # | the death of a process with 301 waits      | a permit that the dead process keeps  |
  # | cancels before, at and after the grant     | a late message; a permit that is lost |
  # | the reaper is killed                       | a wait that does not end in time      |
  # | callers that hold the permits they ask for | a wait without an end                 |
  # | such callers at limit 0, or acquire_async  | `:deadlock` for a wait that can end   |
  use Penstock.PoolCase, async: true

  alias Penstock.RejectedError

  # Awaits the message of a request, and returns its answer.
  defp reply(ref) do
    assert is_reference(ref)
    assert_receive {^ref, answer}
    answer
  end

  defp ask!(pool, opts \\ []) do
    {:ok, ref} = Pool.acquire_async(pool, opts)
    ref
  end

  describe "acquire_async/2" do
    test "answers by a message, also if the answer is known at once" do
      for pool <- both(limit: 2, max_waiting: 0), timeout <- [0, 1_000, :infinity] do
        first = ask!(pool, timeout: timeout)
        second = ask!(pool, permits: 1, timeout: timeout)
        third = ask!(pool, timeout: timeout)
        fourth = ask!(pool, permits: 3, timeout: timeout)
        assert {reply(first), reply(second)} == {:ok, :ok}
        assert reply(third) == {:error, if(timeout == 0, do: :full, else: :queue_full)}
        assert reply(fourth) == {:error, :full}
        assert Pool.release(pool, 2) == :ok
        assert Pool.release(pool) == {:error, :not_held}
        assert mailbox() == []
      end
    end

    test "shares the wait queue with acquire/2, first come, first served" do
      for pool <- both(limit: 1) do
        holder = holder(pool)
        first = ask!(pool)
        {blocked, blocked_ref} = park(pool)
        third = ask!(pool, permits: 1, timeout: :infinity)
        assert Pool.info(pool).waiting == 3
        assert mailbox() == []

        tell(holder, fn -> Pool.release(pool) end)
        assert reply(first) == :ok
        assert Pool.info(pool).waiting == 2
        assert Pool.release(pool) == :ok
        assert answer(blocked_ref) == :ok
        tell(blocked, fn -> Pool.release(pool) end)
        assert reply(third) == :ok
        assert counts(pool) == {1, 1, 0}
        assert Pool.release(pool) == :ok
        assert %{acquired: 4, rejected: 0, timed_out: 0} = Pool.info(pool)
      end
    end

    test "is refused by a full queue, a smaller limit and a drain" do
      for pool <- both(limit: 2, max_waiting: 2) do
        holder(pool, 2)
        [wide, narrow] = [ask!(pool, permits: 2), ask!(pool)]
        assert reply(ask!(pool)) == {:error, :queue_full}
        :ok = Pool.update(pool, limit: 1)
        assert reply(wide) == {:error, :full}
        {:error, _} = Pool.drain(pool, 0)
        assert reply(narrow) == {:error, :closed}
        assert reply(ask!(pool)) == {:error, :closed}
        assert %{rejected: 4, timed_out: 0, waiting: 0} = Pool.info(pool)
      end
    end

    test "answers :timeout, not early, and the next request is served" do
      for pool <- both(limit: 2) do
        holder(pool)
        began = System.monotonic_time(:millisecond)
        wide = ask!(pool, permits: 2, timeout: 60)
        narrow = ask!(pool, timeout: :infinity)
        assert reply(wide) == {:error, :timeout}
        assert System.monotonic_time(:millisecond) - began >= 60
        assert reply(narrow) == :ok
        assert %{timed_out: 1, waiting: 0} = Pool.info(pool)
        assert Pool.release(pool) == :ok
        assert mailbox() == []
      end
    end

    test "500 waits of one process end, each by its own timeout" do
      pool = start_pool(limit: 1, max_waiting: 1_000)
      holder(pool)
      refs = for n <- 1..500, do: {ask!(pool, timeout: 1 + rem(n, 50)), n}
      for {ref, _n} <- refs, do: assert(reply(ref) == {:error, :timeout})
      assert %{timed_out: 500, waiting: 0} = Pool.info(pool)
      assert mailbox() == []
    end

    test "a process with waits of acquire_async/2 can also acquire/2 and drain" do
      for pool <- both(limit: 1) do
        holder = holder(pool)
        refs = for _ <- 1..3, do: ask!(pool, timeout: :infinity)
        assert Pool.acquire(pool, timeout: 1) == {:error, :timeout}
        assert Pool.info(pool).waiting == 3
        assert Pool.drain(pool, 1) == {:error, {:timeout, 1}}
        for ref <- refs, do: assert(reply(ref) == {:error, :closed})
        kill(holder)
      end
    end

    test "the death of the asker ends all its waits, and passes its granted permit on" do
      for pool <- both(limit: 3, max_waiting: 10_000) do
        holder = holder(pool, 3)
        asker = actor()
        # The asker queues 300 waits. After each 100 of them, the test queues one of its own.
        others =
          for n <- 1..300 do
            tell(asker, fn -> Pool.acquire_async(pool, timeout: if(rem(n, 2) == 0, do: 50_000, else: :infinity)) end)
            if rem(n, 100) == 0, do: ask!(pool, timeout: :infinity)
          end

        ask(asker, fn -> Pool.acquire(pool, timeout: :infinity) end)
        await_waiting(pool, 304)
        tell(holder, fn -> Pool.release(pool) end)
        assert Pool.info(pool).waiting == 303
        kill(asker)
        await_waiting(pool, 2)
        assert for(ref <- others, ref, do: ref) |> hd() |> reply() == :ok
        tell(holder, fn -> Pool.release(pool, 2) end)
        assert for(ref <- others, ref, do: ref) |> tl() |> Enum.map(&reply/1) == [:ok, :ok]
        assert Pool.release(pool, 3) == :ok
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "raises for the same arguments as acquire/2" do
      pool = Pool.new(limit: 1)

      for {opts, message} <- [
            {[permits: 0], ~r/expected :permits to be .*, got: 0/},
            {[timeout: -1], ~r/expected :timeout to be .*, got: -1/},
            {[key: 1], ~r/key/}
          ] do
        assert_raise ArgumentError, message, fn -> Pool.acquire_async(pool, opts) end
      end

      assert_raise ArgumentError, ~r/no pool named MyApp.NoPool is running/, fn -> Pool.acquire_async(MyApp.NoPool) end
      assert_raise ArgumentError, ~r/expected pool to be/, fn -> Pool.acquire_async("pool") end
      assert mailbox() == []
    end

    test "lets a server answer calls while it waits" do
      defmodule Server do
        use GenServer

        @impl true
        def init(pool), do: {:ok, %{pool: pool, jobs: %{}}}

        @impl true
        def handle_call(:job, from, state) do
          {:ok, ref} = Pool.acquire_async(state.pool)
          {:noreply, put_in(state.jobs[ref], from)}
        end

        def handle_call(:jobs, _from, state), do: {:reply, map_size(state.jobs), state}

        @impl true
        def handle_info({ref, answer}, state) when is_map_key(state.jobs, ref) do
          {from, state} = pop_in(state.jobs[ref])
          GenServer.reply(from, answer)
          if answer == :ok, do: :ok = Pool.release(state.pool)
          {:noreply, state}
        end
      end

      pool = Pool.new(limit: 1)
      holder = holder(pool)
      server = start_supervised!(%{id: :server, start: {GenServer, :start_link, [__MODULE__.Server, pool]}})
      jobs = for _ <- 1..5, do: Task.async(fn -> GenServer.call(server, :job) end)
      eventually(fn -> GenServer.call(server, :jobs) == 5 end)
      tell(holder, fn -> Pool.release(pool) end)
      assert Task.await_many(jobs) == List.duplicate(:ok, 5)
      assert counts(pool) == {0, 0, 0}
    end
  end

  describe "cancel/2" do
    test "ends a wait, so that no message comes" do
      for pool <- both(limit: 1) do
        holder = holder(pool)
        refs = for timeout <- [:infinity, 20, 50_000], do: ask!(pool, timeout: timeout)
        for ref <- refs, do: assert(Pool.cancel(pool, ref) == :ok)
        assert %{waiting: 0, timed_out: 0, rejected: 0} = Pool.info(pool)
        tell(holder, fn -> Pool.release(pool) end)
        assert counts(pool) == {0, 0, 0}
        for ref <- refs, do: assert(Pool.cancel(pool, ref) == :ok)
        assert mailbox() == []
      end
    end

    test "returns permits whose message was not received, and removes the message" do
      for pool <- both(limit: 5) do
        assert Pool.cancel(pool, ask!(pool, permits: 3)) == :ok
        assert Pool.cancel(pool, ask!(pool, permits: 6)) == :ok
        assert counts(pool) == {0, 0, 0}
        holder = holder(pool, 5)
        ref = ask!(pool, permits: 2)
        tell(holder, fn -> Pool.release(pool, 2) end)
        assert Pool.info(pool).in_use == 5
        assert Pool.cancel(pool, ref) == :ok
        assert Pool.info(pool).in_use == 3
        assert mailbox() == []
      end
    end

    test "keeps permits whose message was received" do
      for pool <- both(limit: 1) do
        ref = ask!(pool)
        assert reply(ref) == :ok
        assert Pool.cancel(pool, ref) == :ok
        assert Pool.info(pool).in_use == 1
        assert Pool.release(pool) == :ok
      end
    end

    test "does nothing for a reference that is unknown, or of another process or pool" do
      [pool, other] = both(limit: 1)
      holder(pool)
      ref = ask!(pool, timeout: :infinity)
      assert tell(actor(), fn -> Pool.cancel(pool, ref) end) == :ok
      assert Pool.cancel(other, ref) == :ok
      assert Pool.cancel(pool, make_ref()) == :ok
      assert Pool.info(pool).waiting == 1
      assert Pool.cancel(pool, ref) == :ok
      assert Pool.info(pool).waiting == 0

      assert_raise ArgumentError, "expected ref to be a reference, got: :ref", fn -> Pool.cancel(pool, :ref) end
      assert_raise ArgumentError, ~r/no pool named MyApp.NoPool/, fn -> Pool.cancel(MyApp.NoPool, make_ref()) end
      assert_raise ArgumentError, ~r/no pool named MyApp.NoPool/, fn -> Pool.cancel(MyApp.NoPool, ref) end
      assert_raise ArgumentError, ~r/expected pool to be/, fn -> Pool.cancel(1, ref) end
    end

    test "that meets a grant leaves neither message nor permit" do
      pool = start_pool(limit: 1)
      parent = self()

      # A second process acquires and releases the only permit again and again. So a cancel of the
      # test meets a grant at any instant.
      busy = spawn_link(fn -> take_and_give(pool, parent) end)
      for _ <- 1..5_000, do: assert(Pool.cancel(pool, ask!(pool)) == :ok)
      send(busy, :stop)
      assert_receive :stopped
      assert counts(pool) == {0, 0, 0}
      assert mailbox() == []
    end
  end

  defp take_and_give(pool, parent) do
    if Pool.try_acquire(pool) == :ok, do: Pool.release(pool)

    receive do
      :stop -> send(parent, :stopped)
    after
      0 -> take_and_give(pool, parent)
    end
  end

  describe "the reaper" do
    test "that is killed loses no timeout" do
      pool = start_pool(limit: 1, max_waiting: 100)
      holder(pool)
      refs = for n <- 1..50, do: ask!(pool, timeout: n)
      kill(Process.whereis(Penstock.Node.Reaper))
      for ref <- refs, do: assert(reply(ref) == {:error, :timeout})
      assert %{timed_out: 50, waiting: 0} = Pool.info(pool)
      eventually(fn -> Process.whereis(Penstock.Node.Reaper) end)
    end
  end

  describe ":deadlock" do
    test "is the answer at once to a caller that holds the permits it would wait for" do
      for pool <- both(limit: 3) do
        :ok = Pool.acquire(pool, permits: 1)
        holder(pool, 2)

        for opts <- [[], [timeout: :infinity], [timeout: 1]] do
          assert Pool.acquire(pool, [permits: 3] ++ opts) == {:error, :deadlock}
        end

        never = fn -> flunk("called") end
        opts = [permits: 3, timeout: :infinity]
        assert Penstock.run(pool, never, opts) == {:error, :deadlock}
        assert Penstock.spawn(pool, never, opts) == {:error, :deadlock}
        assert Penstock.spawn_monitor(pool, never, opts) == {:error, :deadlock}
        assert Penstock.start_process(pool, never, opts) == {:error, :deadlock}
        assert Penstock.Task.async(pool, never, opts) == {:error, :deadlock}
        assert Penstock.Task.start(pool, never, opts) == {:error, :deadlock}
        error = assert_raise RejectedError, ~r/holds permits/, fn -> Penstock.run!(pool, never, opts) end
        assert {error.reason, error.plug_status} == {:deadlock, 503}

        # Another process holds the other two permits and can release them, so the caller waits.
        assert Pool.acquire(pool, permits: 2, timeout: 1) == {:error, :timeout}
        # A caller that does not wait, or asks for more than the limit, gets `:full`.
        assert Pool.acquire(pool, permits: 3, timeout: 0) == {:error, :full}
        assert Pool.acquire(pool, permits: 4) == {:error, :full}
        assert %{rejected: 2, timed_out: 1, waiting: 0} = Pool.info(pool)
      end
    end

    test "is no answer of acquire_async/2, whose caller can still release" do
      for pool <- both(limit: 1) do
        :ok = Pool.acquire(pool)
        ref = ask!(pool, timeout: :infinity)
        refute_received {^ref, _}
        assert Pool.info(pool).waiting == 1
        :ok = Pool.release(pool)
        assert reply(ref) == :ok
        :ok = Pool.release(pool)
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "counts permits of run/3 and transfer/3, too" do
      for pool <- both(limit: 2) do
        assert {:ok, {:error, :deadlock}} =
                 Penstock.run(pool, fn -> Pool.acquire(pool, permits: 2, timeout: :infinity) end)

        giver = holder(pool)
        me = self()
        :ok = tell(giver, fn -> Pool.transfer(pool, me) end)
        assert Penstock.run(pool, fn -> Penstock.run(pool, fn -> :never end) end) == {:ok, {:error, :deadlock}}
        assert Pool.release(pool) == :ok
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "is no answer at limit 0, nor without a limit" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      :ok = Pool.update(pool, limit: 0)
      assert Pool.acquire(pool, timeout: 1) == {:error, :timeout}
      unlimited = Pool.new(limit: :infinity)
      assert Pool.acquire(unlimited, permits: 0x7FFFFFFF) == :ok
      assert Pool.acquire(unlimited, permits: 0x7FFFFFFF) == :ok
    end

    test "of a stream's consumer is raised, and leaves no permit or message" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      stream = Penstock.Task.async_stream(pool, 1..3, & &1)
      assert assert_raise(RejectedError, fn -> Enum.to_list(stream) end).reason == :deadlock
      assert counts(pool) == {1, 1, 0}
      assert mailbox() == []
    end
  end
end
