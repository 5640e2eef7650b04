defmodule Penstock.KeyedPoolTest do
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, KeyedPool, RateLimiter}

  doctest KeyedPool

  defp start(opts), do: start_gate(KeyedPool, opts)

  defp await_waiters(pool, n), do: eventually(fn -> KeyedPool.info(pool).waiting == n end)

  describe "a key" do
    test "has the whole limit, also while other keys hold theirs" do
      pool = start(limit: 2)
      for key <- ["a", :a, {:a, 1}, 1, 1.0, [1], %{a: 1}], do: assert(KeyedPool.try_acquire(pool, key, 2) == :ok)

      for key <- ["a", :a, {:a, 1}, 1, 1.0, [1], %{a: 1}],
          do: assert(KeyedPool.try_acquire(pool, key) == {:error, :key_full})

      assert %{keys: 7, in_use: 14, acquired: 7, rejected: 7} = KeyedPool.info(pool)
      assert KeyedPool.info(pool, "a") == %{in_use: 2, available: 0, waiting: 0}
      assert KeyedPool.info(pool, "b") == %{in_use: 0, available: 2, waiting: 0}
    end

    test "leaves no trace when it holds nothing any more" do
      pool = start(limit: 1, max_keys: 10)
      memory = KeyedPool.info(pool).memory
      :ok = KeyedPool.try_acquire(pool, 0)
      :ok = KeyedPool.release(pool, 0)
      once = KeyedPool.info(pool).memory

      for key <- 1..10_000 do
        :ok = KeyedPool.try_acquire(pool, key)
        :ok = KeyedPool.release(pool, key)
      end

      assert %{keys: 0, in_use: 0, memory: ^once} = KeyedPool.info(pool)
      assert once - memory < 64 * 1_024
    end

    test "that is new is refused if all places are in use, and pushes out no other" do
      pool = start(limit: 1, max_keys: 3)
      for key <- 1..3, do: :ok = KeyedPool.try_acquire(pool, key)
      for key <- 4..100, do: assert(KeyedPool.try_acquire(pool, key) == {:error, :table_full})
      assert KeyedPool.acquire(pool, 4, timeout: 10) == {:error, :table_full}
      assert KeyedPool.info(pool).keys == 3
      for key <- 1..3, do: assert(KeyedPool.release(pool, key) == :ok)
      assert KeyedPool.try_acquire(pool, 4) == :ok
    end

    test "may be of any size up to 1 KiB" do
      pool = start(limit: 1)
      assert KeyedPool.try_acquire(pool, String.duplicate("x", 1_018)) == :ok

      assert_raise ArgumentError, ~r/^expected key to be of at most 1024 bytes/, fn ->
        KeyedPool.try_acquire(pool, String.duplicate("x", 1_019))
      end

      assert_raise ArgumentError, ~r/^expected key to be a term other than nil/, fn -> KeyedPool.acquire(pool, nil) end
      assert [%{key: {:hash, hash}, permits: 1}] = KeyedPool.top(pool)
      assert is_integer(hash)
    end
  end

  describe "permits" do
    test "belong to the process that acquired them" do
      pool = start(limit: 3)
      other = actor()
      :ok = KeyedPool.acquire(pool, :k, permits: 2)
      assert tell(other, fn -> KeyedPool.release(pool, :k) end) == {:error, :not_held}
      assert KeyedPool.release(pool, :other) == {:error, :not_held}
      assert KeyedPool.release(pool, :k, 3) == {:error, :not_held}
      assert KeyedPool.release(pool, :k, 2) == :ok
      assert KeyedPool.release(pool, :k) == {:error, :not_held}
    end

    test "come back when their holder dies, before a caller that saw it die can be refused" do
      pool = start(limit: 1)

      for n <- 1..200 do
        holder = actor()
        :ok = tell(holder, fn -> KeyedPool.try_acquire(pool, :k) end)
        kill(holder)
        assert KeyedPool.try_acquire(pool, :k) == :ok, "round #{n}"
        :ok = KeyedPool.release(pool, :k)
      end

      eventually(fn -> KeyedPool.info(pool).released_by_exit == 200 end)
    end

    test "of all keys come back when their holder dies" do
      pool = start(limit: 1, max_keys: 5_000)
      holder = actor()
      tell(holder, fn -> for key <- 1..5_000, do: :ok = KeyedPool.try_acquire(pool, key) end)
      assert KeyedPool.info(pool).in_use == 5_000
      kill(holder)
      eventually(fn -> KeyedPool.info(pool).in_use == 0 end)
      assert %{keys: 0, released_by_exit: 5_000} = KeyedPool.info(pool)
    end

    test "above the limit are refused at once" do
      pool = start(limit: 2)
      assert KeyedPool.try_acquire(pool, :k, 3) == {:error, :key_full}
      assert KeyedPool.acquire(pool, :k, permits: 3, timeout: :infinity) == {:error, :key_full}
      assert KeyedPool.info(pool).keys == 0
    end
  end

  describe "acquire/3" do
    test "serves the waiters of a key in the order of their arrival, and no key waits for another" do
      pool = start(limit: 1)
      :ok = KeyedPool.acquire(pool, :k)
      waiters = for n <- 1..5, do: {n, actor()}

      asked =
        for {n, waiter} <- waiters do
          ref = ask(waiter, fn -> {n, KeyedPool.acquire(pool, :k)} end)
          await_waiters(pool, n)
          ref
        end

      assert KeyedPool.info(pool, :k) == %{in_use: 1, available: 0, waiting: 5}
      assert KeyedPool.acquire(pool, :other) == :ok
      :ok = KeyedPool.release(pool, :k)

      for {ref, {n, waiter}} <- Enum.zip(asked, waiters) do
        assert answer(ref) == {n, :ok}
        assert KeyedPool.info(pool, :k).waiting == 5 - n
        assert tell(waiter, fn -> KeyedPool.release(pool, :k) end) == :ok
      end

      assert KeyedPool.info(pool, :k) == %{in_use: 0, available: 1, waiting: 0}
    end

    test "gives up after its timeout" do
      pool = start(limit: 1)
      other = actor()
      :ok = tell(other, fn -> KeyedPool.acquire(pool, :k) end)
      assert KeyedPool.acquire(pool, :k, timeout: 20) == {:error, :timeout}
      assert KeyedPool.acquire(pool, :k, timeout: 0) == {:error, :key_full}
      assert %{waiting: 0, timed_out: 1, rejected: 1} = KeyedPool.info(pool)
      assert mailbox() == []
    end

    test "is refused if max_waiting processes wait, over all keys" do
      pool = start(limit: 1, max_waiting: 1)
      for key <- [:a, :b], do: :ok = KeyedPool.acquire(pool, key)
      ref = ask(actor(), fn -> KeyedPool.acquire(pool, :a) end)
      await_waiters(pool, 1)
      assert KeyedPool.acquire(pool, :b) == {:error, :queue_full}
      :ok = KeyedPool.release(pool, :a)
      assert answer(ref) == :ok
    end

    test "passes a dead waiter's grant on" do
      pool = start(limit: 1)
      :ok = KeyedPool.acquire(pool, :k)
      first = actor()
      ask(first, fn -> KeyedPool.acquire(pool, :k) end)
      await_waiters(pool, 1)
      second = ask(actor(), fn -> KeyedPool.acquire(pool, :k) end)
      await_waiters(pool, 2)
      kill(first)
      :ok = KeyedPool.release(pool, :k)
      assert answer(second) == :ok
    end
  end

  describe "update/2" do
    test "serves waiters by a larger limit, and refuses those above a smaller one" do
      pool = start(limit: 2)
      :ok = KeyedPool.acquire(pool, :k, permits: 2)
      small = ask(actor(), fn -> KeyedPool.acquire(pool, :k) end)
      await_waiters(pool, 1)
      large = ask(actor(), fn -> KeyedPool.acquire(pool, :k, permits: 2) end)
      await_waiters(pool, 2)
      assert KeyedPool.update(pool, limit: 1) == :ok
      assert answer(large) == {:error, :key_full}
      assert KeyedPool.info(pool, :k) == %{in_use: 2, available: 0, waiting: 1}
      assert KeyedPool.update(pool, limit: 3, max_waiting: 7) == :ok
      assert answer(small) == :ok
      assert %{limit: 3, max_waiting: 7} = KeyedPool.info(pool)
    end
  end

  describe "drain/2" do
    test "refuses, and returns when the last permit is back" do
      pool = start(limit: 1)
      for key <- [:a, :b], do: :ok = KeyedPool.acquire(pool, key)
      waiter = ask(actor(), fn -> KeyedPool.acquire(pool, :a) end)
      await_waiters(pool, 1)
      drainer = ask(actor(), fn -> KeyedPool.drain(pool, :infinity) end)
      assert answer(waiter) == {:error, :closed}
      assert KeyedPool.try_acquire(pool, :c) == {:error, :closed}
      assert KeyedPool.drain(pool, 10) == {:error, {:timeout, 2}}
      assert KeyedPool.info(pool).status == :draining
      for key <- [:a, :b], do: :ok = KeyedPool.release(pool, key)
      assert answer(drainer) == :ok
      assert KeyedPool.reopen(pool) == :ok
      assert KeyedPool.try_acquire(pool, :c) == :ok
    end
  end

  describe "the pool" do
    test "outlives a crash of its owner, with holders and waiters" do
      name = unique_name()
      {:ok, owner} = KeyedPool.start_link(name: name, limit: 1)
      :ok = KeyedPool.acquire(name, :k)
      waiter = ask(actor(), fn -> KeyedPool.acquire(name, :k) end)
      await_waiters(name, 1)
      Process.unlink(owner)
      kill(owner)
      {:ok, next} = KeyedPool.start_link(name: name, limit: 2)
      assert %{owner: ^next, in_use: 2, limit: 2} = KeyedPool.info(name)
      assert answer(waiter) == :ok
      GenServer.stop(next)
      assert_raise ArgumentError, not_running("keyed pool", name), fn -> KeyedPool.info(name) end
      {:ok, _} = KeyedPool.start_link(name: name, limit: 1)
      assert %{in_use: 0, keys: 0} = KeyedPool.info(name)
    end

    test "is told from other gates in messages" do
      pool = start(limit: 1)
      assert Penstock.Admission.Resolver.kind(pool) == :keyed_pool
      message = "no pool named #{inspect(pool)} is running (it is a keyed pool)"
      assert_raise ArgumentError, message, fn -> Pool.acquire(pool) end
      assert_raise ArgumentError, ~r/no limiter named .* \(it is a keyed pool\)/, fn -> RateLimiter.hit(pool) end
      assert_raise ArgumentError, ~r/no ban named .* \(it is a keyed pool\)/, fn -> Ban.check(pool, 1) end
      name = start_pool(limit: 1)
      message = "no keyed pool named #{inspect(name)} is running (it is a pool)"
      assert_raise ArgumentError, message, fn -> KeyedPool.acquire(name, 1) end

      assert_raise ArgumentError, ~r/^expected keyed pool to be the name of a keyed pool, got: 17/, fn ->
        KeyedPool.info(17)
      end

      assert Enum.find(Penstock.list(), &(&1.name == pool)).kind == :keyed_pool
    end

    test "refuses options and arguments that are wrong" do
      for {opts, message} <- [
            {[limit: 1], ~r/option :name is missing/},
            {[name: A], ~r/option :limit is missing/},
            {[name: A, limit: 0], ~r/expected :limit to be/},
            {[name: A, limit: :infinity], ~r/expected :limit to be/},
            {[name: A, limit: 1, max_keys: 0], ~r/expected :max_keys to be/},
            {[name: A, limit: 1, max_waiting: -1], ~r/expected :max_waiting to be/},
            {[name: A, limit: 1, max_overdraft: -1], ~r/expected :max_overdraft to be/},
            {[name: A, limit: 1, max_kyes: 1], ~r/did you mean :max_keys/}
          ] do
        assert_raise ArgumentError, message, fn -> KeyedPool.start_link(opts) end
      end

      pool = start(limit: 1)

      for n <- [0, -1, 1.0, 2_147_483_648, :a],
          do: assert_raise(ArgumentError, ~r/expected permits to be/, fn -> KeyedPool.try_acquire(pool, :k, n) end)

      for n <- [0, 1_001, :a], do: assert_raise(ArgumentError, ~r/expected n to be/, fn -> KeyedPool.top(pool, n) end)
      assert_raise ArgumentError, ~r/did you mean :timeout/, fn -> KeyedPool.acquire(pool, :k, timeuot: 1) end
    end
  end

  describe "top/2 and holders/2" do
    test "show the keys and the processes that hold most" do
      pool = start(limit: 1_000, max_keys: 5_000)
      for key <- 1..300, do: :ok = KeyedPool.try_acquire(pool, {:user, key}, key)
      assert for(%{key: {:user, n}, permits: n, waiting: 0} <- KeyedPool.top(pool), do: n) == Enum.to_list(300..291//-1)
      assert length(KeyedPool.top(pool, 1_000)) == 300
      other = actor()
      :ok = tell(other, fn -> KeyedPool.acquire(pool, {:user, 7}, permits: 2) end)
      holders = KeyedPool.holders(pool, {:user, 7})
      assert Enum.sort(for(%{pid: pid, permits: n} <- holders, do: {pid, n})) == Enum.sort([{self(), 7}, {other, 2}])
      assert KeyedPool.holders(pool, {:user, 0}) == []
    end
  end
end
