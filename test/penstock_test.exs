defmodule PenstockTest do
  use Penstock.PoolCase, async: true

  # The doctest of spawners/1 traces, so it runs with the other tests of it, and not while others
  # trace: see Penstock.SpawnersTest.
  doctest Penstock, except: [spawners: 1]

  alias Penstock.RejectedError

  # Fails in the given way. The tests expect this function at the top of the stack of the failure.
  defp burst(:raise), do: raise(RuntimeError, "burst")
  defp burst(:erlang_error), do: :erlang.error(:burst)
  defp burst(:throw), do: throw(:burst)
  defp burst(:exit), do: exit(:burst)

  # Calls `fun`. Returns its value; or the kind, the reason and the stack of its failure.
  defp outcome(fun) do
    {:returned, fun.()}
  catch
    kind, reason -> {kind, reason, __STACKTRACE__}
  end

  describe "run/3" do
    test "returns the value of the function, which runs in the caller with a permit" do
      for pool <- both(limit: 2), opts <- [[], [timeout: 0], [timeout: 5], [timeout: :infinity]] do
        caller = self()

        assert Penstock.run(
                 pool,
                 fn ->
                   assert self() == caller
                   assert counts(pool) == {1, 1, 0}
                   {:error, :mine}
                 end,
                 opts
               ) == {:ok, {:error, :mine}}

        assert counts(pool) == {0, 0, 0}
        assert mailbox() == []
      end
    end

    test "takes all permits that the caller asks for, or none" do
      for pool <- both(limit: 3), timeout <- [0, 5] do
        opts = [permits: 3, timeout: timeout]
        assert Penstock.run(pool, fn -> counts(pool) end, opts) == {:ok, {3, 1, 0}}
        assert counts(pool) == {0, 0, 0}
        :ok = Pool.acquire(pool)
        reason = if timeout == 0, do: :full, else: :deadlock
        assert Penstock.run(pool, fn -> flunk("called") end, opts) == {:error, reason}
        assert Penstock.run(pool, fn -> flunk("called") end, permits: 4, timeout: timeout) == {:error, :full}
        assert counts(pool) == {1, 1, 0}
        :ok = Pool.release(pool)
      end
    end

    test "releases the permits however the function ends, and passes its exception, throw or exit on" do
      for pool <- both(limit: 2),
          how <- [:raise, :erlang_error, :throw, :exit],
          opts <- [[], [permits: 2], [timeout: 0]] do
        {kind, reason, [{PenstockTest, :burst, 1, _} | _] = stack} =
          outcome(fn -> Penstock.run(pool, fn -> with(:ok <- burst(how), do: :ok) end, opts) end)

        {bare_kind, bare_reason, [{PenstockTest, :burst, 1, bare_location} | _]} =
          outcome(fn -> with(:ok <- burst(how), do: :ok) end)

        assert {kind, reason} == {bare_kind, bare_reason}
        assert {PenstockTest, :burst, 1, bare_location} == hd(stack)
        # `run/3` passes the whole stack on: it still has the frame of this test, beneath that of
        # `burst/1`.
        assert Enum.any?(stack, fn {_, name, _, _} ->
                 name |> to_string() |> String.contains?("test run/3 releases the permits however")
               end)

        assert counts(pool) == {0, 0, 0}
      end
    end

    test "returns the permits of a caller that is killed in the function" do
      for pool <- both(limit: 2) do
        pid = actor()
        ask(pid, fn -> Penstock.run(pool, fn -> receive do: (:never -> :ok) end, permits: 2) end)
        eventually(fn -> Pool.info(pool).in_use == 2 end)
        kill(pid)
        assert Pool.acquire(pool, permits: 2) == :ok
      end
    end

    test "waits until a permit is free" do
      for pool <- both(limit: 1) do
        holder = holder(pool)
        pid = actor()
        ref = ask(pid, fn -> {Penstock.run(pool, fn -> counts(pool) end), mailbox()} end)
        await_waiting(pool, 1)
        assert tell(holder, fn -> Pool.release(pool) end) == :ok
        assert answer(ref) == {{:ok, {1, 1, 0}}, []}
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "returns :timeout after the timeout, without a call of the function" do
      for pool <- both(limit: 1) do
        _holder = holder(pool)
        assert Penstock.run(pool, fn -> flunk("called") end, timeout: 5) == {:error, :timeout}
        assert counts(pool) == {1, 1, 0}
        assert mailbox() == []
      end
    end

    test "takes one more permit for each nested run" do
      for pool <- both(limit: 3) do
        result =
          Penstock.run(pool, fn ->
            Penstock.run(pool, fn ->
              :ok = Pool.acquire(pool)
              assert counts(pool) == {3, 1, 0}
              assert Penstock.run(pool, fn -> flunk("called") end, timeout: 0) == {:error, :full}
              assert Penstock.run(pool, fn -> flunk("called") end, timeout: 2) == {:error, :deadlock}
              :ok = Pool.release(pool)
              assert {:thrown, :ball} == catch_thrown(fn -> Penstock.run(pool, fn -> throw(:ball) end) end)
              counts(pool)
            end)
          end)

        assert result == {:ok, {:ok, {2, 1, 0}}}
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "a throw through runs of two pools releases the permits of both" do
      [one, two] = both(limit: 1)

      assert {:thrown, :ball} ==
               catch_thrown(fn -> Penstock.run(one, fn -> Penstock.run(two, fn -> throw(:ball) end) end) end)

      assert counts(one) == {0, 0, 0}
      assert counts(two) == {0, 0, 0}
    end

    test "leaves the caller the permits that the function acquired" do
      for pool <- both(limit: 2) do
        assert Penstock.run(pool, fn -> Pool.acquire(pool) end) == {:ok, :ok}
        assert counts(pool) == {1, 1, 0}
        assert Pool.release(pool) == :ok
      end
    end

    test "returns the value although its pool was closed while the function ran" do
      name = start_pool(limit: 1)

      assert Penstock.run(name, fn ->
               stop_supervised!({Pool, name})
               :ran
             end) == {:ok, :ran}
    end

    test "releases no permit of a new pool that got the name while the function ran" do
      name = start_pool(limit: 1)

      assert Penstock.run(name, fn ->
               stop_supervised!({Pool, name})
               ^name = start_pool(name: name, limit: 1)
               assert counts(name) == {0, 0, 0}
               # Another process holds the only permit of the new pool.
               _holder = holder(name)
               assert Penstock.run(name, fn -> flunk("called") end, timeout: 0) == {:error, :full}
               :ran
             end) == {:ok, :ran}

      assert counts(name) == {1, 1, 0}
      assert Pool.try_acquire(name) == {:error, :full}
    end

    test "a nested run takes its permit from the pool that has the name now" do
      name = start_pool(limit: 2)

      Penstock.run(name, fn ->
        stop_supervised!({Pool, name})
        start_pool(name: name, limit: 2)

        Penstock.run(name, fn ->
          assert counts(name) == {1, 1, 0}
          :ok = Pool.acquire(name)
        end)

        assert counts(name) == {1, 1, 0}
      end)

      assert counts(name) == {1, 1, 0}
      assert Pool.release(name) == :ok
    end

    test "keeps its permit when the owner crashes, and returns it to the adopted pool" do
      name = start_pool(limit: 1)

      Penstock.run(name, fn ->
        owner = Pool.info(name).owner
        kill(owner)
        eventually(fn -> (now = Pool.info(name).owner) != owner and Process.alive?(now) end)
        assert counts(name) == {1, 1, 0}
      end)

      assert counts(name) == {0, 0, 0}
    end

    test "never runs more functions at once than the limit" do
      for pool <- both(limit: 3) do
        inside = :atomics.new(2, [])

        work = fn ->
          for _ <- 1..2_000 do
            Penstock.run(pool, fn ->
              if :atomics.add_get(inside, 1, 1) > 3, do: :atomics.add(inside, 2, 1)
              :erlang.yield()
              :atomics.sub(inside, 1, 1)
            end)
          end
          |> Enum.frequencies()
        end

        for ref <- for(_ <- 1..6, do: ask(actor(), work)), do: assert(answer(ref) == %{{:ok, :ok} => 2_000})
        assert :atomics.get(inside, 2) == 0
        assert counts(pool) == {0, 0, 0}
      end
    end
  end

  defp catch_thrown(fun) do
    fun.()
  catch
    value -> {:thrown, value}
  end

  describe "run!/3" do
    test "returns the bare value of the function" do
      for pool <- both(limit: 2) do
        assert Penstock.run!(pool, fn -> counts(pool) end) == {1, 1, 0}
        assert Penstock.run!(pool, fn -> counts(pool) end, permits: 2, timeout: 0) == {2, 1, 0}
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "raises RejectedError with the gate and the reason, for each reason of a pool" do
      for pool <- both(limit: 1, max_waiting: 1) do
        never = fn -> flunk("called") end
        :ok = Pool.acquire(pool)

        for {reason, opts} <- [full: [timeout: 0], full: [permits: 2], deadlock: [timeout: 1]] do
          error = assert_raise RejectedError, fn -> Penstock.run!(pool, never, opts) end
          assert {error.gate, error.reason, error.plug_status} == {pool, reason, 503}
        end

        {waiter, _} = park(pool)
        assert assert_raise(RejectedError, fn -> Penstock.run!(pool, never) end).reason == :queue_full
        kill(waiter)
        Pool.drain(pool, 0)
        assert assert_raise(RejectedError, fn -> Penstock.run!(pool, never) end).reason == :closed
        assert counts(pool) == {1, 1, 0}
      end
    end

    test "passes on the exceptions of the function, even a RejectedError" do
      pool = Pool.new(limit: 1)
      assert_raise RuntimeError, "burst", fn -> Penstock.run!(pool, fn -> burst(:raise) end) end
      inner = fn -> Penstock.run!(pool, fn -> flunk("called") end, timeout: 0) end
      assert assert_raise(RejectedError, fn -> Penstock.run!(pool, inner) end).reason == :full
      assert counts(pool) == {0, 0, 0}
    end
  end

  describe "list/0" do
    test "lists each named pool with its info, ordered by name, and no unnamed pool" do
      names = for limit <- 1..3, do: start_pool(limit: limit, name: unique_name())
      _unnamed = Pool.new(limit: 99_999)
      found = Enum.filter(Penstock.list(), &(&1.name in names))
      assert found == for(name <- Enum.sort(names), do: Map.put(Pool.info(name), :kind, :pool))
      refute Enum.any?(Penstock.list(), &(&1.name == nil or &1[:limit] == 99_999))
    end

    test "lists a pool that drains, but no pool that is closed" do
      [closed, draining] = [start_pool(limit: 1), start_pool(limit: 1)]
      Pool.drain(draining)
      stop_supervised!({Pool, closed})
      names = Enum.map(Penstock.list(), & &1.name)
      refute closed in names
      assert draining in names
    end

    test "never fails while pools are started and stopped" do
      stopped = :atomics.new(1, [])

      churn = fn ->
        Enum.find(Stream.iterate(1, &(&1 + 1)), fn n ->
          {:ok, pid} = Pool.start_link(name: :"#{__MODULE__}.churn#{rem(n, 20)}", limit: 1)
          GenServer.stop(pid)
          :atomics.get(stopped, 1) == 1
        end)
      end

      ref = ask(actor(), churn)

      for _ <- 1..300,
          %{kind: kind} <- Penstock.list(),
          do: assert(kind in [:pool, :keyed_pool, :rate_limiter, :ban, :gate])

      :atomics.put(stopped, 1, 1)
      assert is_integer(answer(ref))
    end
  end
end
