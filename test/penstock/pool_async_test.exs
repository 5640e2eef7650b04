defmodule Penstock.PoolAsyncTest do
  # Waiting by messages, and being told of a wait for oneself.
  use Penstock.PoolCase, async: true

  alias Penstock.RejectedError

  @patience 10_000

  # The one message of that reference.
  defp told(ref) do
    assert is_reference(ref)
    assert_receive {^ref, answer}, @patience
    answer
  end

  defp ask!(pool, opts \\ []) do
    {:ok, ref} = Pool.acquire_async(pool, opts)
    ref
  end

  describe "acquire_async/2" do
    test "tells by a message, also what is known at once" do
      for pool <- both(limit: 2, max_waiting: 0), timeout <- [0, 1_000, :infinity] do
        first = ask!(pool, timeout: timeout)
        second = ask!(pool, permits: 1, timeout: timeout)
        third = ask!(pool, timeout: timeout)
        fourth = ask!(pool, permits: 3, timeout: timeout)
        assert {told(first), told(second)} == {:ok, :ok}
        assert told(third) == {:error, if(timeout == 0, do: :full, else: :queue_full)}
        assert told(fourth) == {:error, :full}
        assert Pool.release(pool, 2) == :ok
        assert Pool.release(pool) == {:error, :not_held}
        assert mailbox() == []
      end
    end

    test "waits in line with others, first come, first served" do
      for pool <- both(limit: 1) do
        holder = holder(pool)
        first = ask!(pool)
        {blocked, blocked_ref} = park(pool)
        third = ask!(pool, permits: 1, timeout: :infinity)
        assert Pool.info(pool).waiting == 3
        assert mailbox() == []

        tell(holder, fn -> Pool.release(pool) end)
        assert told(first) == :ok
        assert Pool.info(pool).waiting == 2
        assert Pool.release(pool) == :ok
        assert answer(blocked_ref) == :ok
        tell(blocked, fn -> Pool.release(pool) end)
        assert told(third) == :ok
        assert counts(pool) == {1, 1, 0}
        assert Pool.release(pool) == :ok
        assert %{acquired: 4, rejected: 0, timed_out: 0} = Pool.info(pool)
      end
    end

    test "is bounded by max_waiting, and refused by what ends a wait" do
      for pool <- both(limit: 2, max_waiting: 2) do
        holder(pool, 2)
        [wide, narrow] = [ask!(pool, permits: 2), ask!(pool)]
        assert told(ask!(pool)) == {:error, :queue_full}
        :ok = Pool.update(pool, limit: 1)
        assert told(wide) == {:error, :full}
        {:error, _} = Pool.drain(pool, 0)
        assert told(narrow) == {:error, :closed}
        assert told(ask!(pool)) == {:error, :closed}
        assert %{rejected: 4, timed_out: 0, waiting: 0} = Pool.info(pool)
      end
    end

    test "tells of its timeout, not before that, and lets who stands behind go on" do
      for pool <- both(limit: 2) do
        holder(pool)
        began = System.monotonic_time(:millisecond)
        wide = ask!(pool, permits: 2, timeout: 60)
        narrow = ask!(pool, timeout: :infinity)
        assert told(wide) == {:error, :timeout}
        assert System.monotonic_time(:millisecond) - began >= 60
        assert told(narrow) == :ok
        assert %{timed_out: 1, waiting: 0} = Pool.info(pool)
        assert Pool.release(pool) == :ok
        assert mailbox() == []
      end
    end

    test "many at a time end each by its own timeout" do
      pool = start_pool(limit: 1, max_waiting: 1_000)
      holder(pool)
      refs = for n <- 1..500, do: {ask!(pool, timeout: 1 + rem(n, 50)), n}
      for {ref, _n} <- refs, do: assert(told(ref) == {:error, :timeout})
      assert %{timed_out: 500, waiting: 0} = Pool.info(pool)
      assert mailbox() == []
    end

    test "an acquire/2 goes on while others are asked for, and a drain too" do
      for pool <- both(limit: 1) do
        holder = holder(pool)
        refs = for _ <- 1..3, do: ask!(pool, timeout: :infinity)
        assert Pool.acquire(pool, timeout: 1) == {:error, :timeout}
        assert Pool.info(pool).waiting == 3
        assert Pool.drain(pool, 1) == {:error, {:timeout, 1}}
        for ref <- refs, do: assert(told(ref) == {:error, :closed})
        kill(holder)
      end
    end

    test "the death of the asker ends all its waits, and takes what it was granted" do
      for pool <- both(limit: 3, max_waiting: 10_000) do
        holder = holder(pool, 3)
        asker = actor()
        # Among those of others, and with a wait of the other kind at the end.
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
        assert for(ref <- others, ref, do: ref) |> hd() |> told() == :ok
        tell(holder, fn -> Pool.release(pool, 2) end)
        assert for(ref <- others, ref, do: ref) |> tl() |> Enum.map(&told/1) == [:ok, :ok]
        assert Pool.release(pool, 3) == :ok
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "raises on what acquire/2 raises on" do
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

    test "works in a server that answers calls meanwhile" do
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
    test "ends a wait, of which no message comes" do
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

    test "gives back what was granted and not received, and flushes the message" do
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

    test "leaves what was received" do
      for pool <- both(limit: 1) do
        ref = ask!(pool)
        assert told(ref) == :ok
        assert Pool.cancel(pool, ref) == :ok
        assert Pool.info(pool).in_use == 1
        assert Pool.release(pool) == :ok
      end
    end

    test "does nothing for a reference that is foreign, unknown, or of another pool" do
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

    test "against a grant at the same time keeps neither message nor permit" do
      pool = start_pool(limit: 1)
      parent = self()

      # Takes and gives back without a pause, so that grants meet cancels at every instant.
      busy = spawn_link(fn -> take_and_give(pool, parent) end)
      for _ <- 1..5_000, do: assert(Pool.cancel(pool, ask!(pool)) == :ok)
      send(busy, :stop)
      assert_receive :stopped, @patience
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
      for ref <- refs, do: assert(told(ref) == {:error, :timeout})
      assert %{timed_out: 50, waiting: 0} = Pool.info(pool)
      eventually(fn -> Process.whereis(Penstock.Node.Reaper) end)
    end
  end

  describe ":deadlock" do
    test "is told at once to a caller that holds what it would wait for" do
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

        # Two may come free.
        assert Pool.acquire(pool, permits: 2, timeout: 1) == {:error, :timeout}
        # Who would not wait, and who asks for more than there is, are told that.
        assert Pool.acquire(pool, permits: 3, timeout: 0) == {:error, :full}
        assert Pool.acquire(pool, permits: 4) == {:error, :full}
        assert %{rejected: 2, timed_out: 1, waiting: 0} = Pool.info(pool)
      end
    end

    test "is not told to a caller that goes on, which may release what it waits for" do
      for pool <- both(limit: 1) do
        :ok = Pool.acquire(pool)
        ref = ask!(pool, timeout: :infinity)
        refute_received {^ref, _}
        assert Pool.info(pool).waiting == 1
        :ok = Pool.release(pool)
        assert told(ref) == :ok
        :ok = Pool.release(pool)
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "counts permits of every function" do
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

    test "is not told while the limit is 0, nor without one" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      :ok = Pool.update(pool, limit: 0)
      assert Pool.acquire(pool, timeout: 1) == {:error, :timeout}
      unlimited = Pool.new(limit: :infinity)
      assert Pool.acquire(unlimited, permits: 0x7FFFFFFF) == :ok
      assert Pool.acquire(unlimited, permits: 0x7FFFFFFF) == :ok
    end

    test "of a stream's consumer is raised, and nothing is left" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      stream = Penstock.Task.async_stream(pool, 1..3, & &1)
      assert assert_raise(RejectedError, fn -> Enum.to_list(stream) end).reason == :deadlock
      assert counts(pool) == {1, 1, 0}
      assert mailbox() == []
    end
  end
end
