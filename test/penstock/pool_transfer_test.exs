defmodule Penstock.PoolTransferTest do
  use Penstock.PoolCase, async: true

  test "a transferred permit is the receiver's, and returns by its release or its death" do
    for pool <- both(limit: 5) do
      heir = actor()
      :ok = Pool.acquire(pool, permits: 5)
      assert Pool.transfer(pool, heir) == :ok
      assert Pool.transfer(pool, heir, 2) == :ok
      assert counts(pool) == {5, 2, 0}
      assert Pool.release(pool, 3) == {:error, :not_held}
      assert tell(heir, fn -> Pool.release(pool) end) == :ok
      assert tell(heir, fn -> Pool.release(pool, 3) end) == {:error, :not_held}
      assert counts(pool) == {4, 2, 0}
      kill(heir)
      eventually(fn -> counts(pool) == {2, 1, 0} end)
      assert Pool.release(pool, 2) == :ok
      assert Pool.info(pool).released_by_exit == 2
    end
  end

  test "a transfer of more permits than are held, or of bound permits, changes nothing" do
    for pool <- both(limit: 5) do
      heir = actor()
      assert Pool.transfer(pool, heir) == {:error, :not_held}
      :ok = Pool.acquire(pool, permits: 2)
      assert Pool.transfer(pool, heir, 3) == {:error, :not_held}
      assert Pool.transfer(pool, self(), 3) == {:error, :not_held}
      assert counts(pool) == {2, 1, 0}
      :ok = Pool.release(pool, 2)

      Penstock.run(pool, fn -> assert Pool.transfer(pool, heir) == {:error, :not_held} end)
      assert counts(pool) == {0, 0, 0}
      assert tell(heir, fn -> Pool.release(pool) end) == {:error, :not_held}
    end
  end

  test "a transfer to a dead process frees the permits" do
    for pool <- both(limit: 3) do
      heir = actor()
      kill(heir)
      :ok = Pool.acquire(pool, permits: 3)
      assert Pool.transfer(pool, heir, 2) == {:error, :noproc}
      assert counts(pool) == {1, 1, 0}
      assert Pool.release(pool, 2) == {:error, :not_held}
      assert Pool.release(pool) == :ok
      assert Pool.info(pool).released_by_exit == 0
      # `transfer` checks the caller's permits before it looks whether the receiver is alive.
      assert Pool.transfer(pool, heir) == {:error, :not_held}
    end
  end

  test "a transfer to a dead process wakes a waiter" do
    for pool <- both(limit: 1) do
      heir = actor()
      kill(heir)
      :ok = Pool.acquire(pool)
      {_, ref} = park(pool)
      assert Pool.transfer(pool, heir) == {:error, :noproc}
      assert answer(ref) == :ok
    end
  end

  test "a transfer to the caller itself changes nothing" do
    for pool <- both(limit: 3) do
      :ok = Pool.acquire(pool, permits: 2)
      assert Pool.transfer(pool, self()) == :ok
      assert Pool.transfer(pool, self(), 2) == :ok
      assert counts(pool) == {2, 1, 0}
      assert Pool.release(pool, 2) == :ok
      assert Pool.release(pool) == {:error, :not_held}
    end
  end

  test "a transfer to a holder or a waiter adds to the permits that it holds" do
    for pool <- both(limit: 4) do
      heir = holder(pool, 2)
      :ok = Pool.acquire(pool, permits: 2)
      assert Pool.transfer(pool, heir) == :ok
      assert [%{permits: 1}, %{permits: 3}] = Enum.sort_by(Pool.holders(pool), & &1.permits)

      ref = ask(heir, fn -> Pool.acquire(pool, permits: 1, timeout: :infinity) end)
      await_waiting(pool, 1)
      assert Pool.transfer(pool, heir) == :ok
      # The receiver still waits, because a transfer does not free a permit.
      assert counts(pool) == {4, 1, 1}
      Pool.update(pool, limit: 5)
      assert answer(ref) == :ok
      assert tell(heir, fn -> Pool.release(pool, 5) end) == :ok
      assert counts(pool) == {0, 0, 0}
    end
  end

  test "a permit can be transferred twice, also while the pool drains" do
    for pool <- both(limit: 1) do
      [one, two] = [actor(), actor()]
      :ok = Pool.acquire(pool)
      assert Pool.transfer(pool, one) == :ok
      Pool.drain(pool, 0)
      assert tell(one, fn -> Pool.transfer(pool, two) end) == :ok
      assert tell(one, fn -> Pool.release(pool) end) == {:error, :not_held}
      assert tell(two, fn -> Pool.release(pool) end) == :ok
      assert Pool.drain(pool, 0) == :ok
    end
  end

  test "a transfer is not counted as an admission" do
    for pool <- both(limit: 1) do
      :ok = Pool.acquire(pool)
      :ok = Pool.transfer(pool, actor())
      assert %{acquired: 1, peak: 1} = Pool.info(pool)
    end
  end

  test "a transfer to a process of another node raises and keeps the permits" do
    [remote, _] = Penstock.Garbage.remote_pids()

    for pool <- both(limit: 1) do
      :ok = Pool.acquire(pool)

      assert_raise ArgumentError, ~r/^expected pid to be a process of this node, got: #PID<\d+\.1\.2>$/, fn ->
        Pool.transfer(pool, remote)
      end

      assert Pool.release(pool) == :ok
    end
  end
end
