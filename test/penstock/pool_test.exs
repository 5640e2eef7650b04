defmodule Penstock.PoolTest do
  use Penstock.PoolCase, async: true

  doctest Penstock.Pool

  describe "child_spec/1" do
    test "is that of a worker named after the pool" do
      opts = [name: MyApp.Spec, limit: 1]

      assert Supervisor.child_spec({Pool, opts}, []) ==
               %{id: {Pool, MyApp.Spec}, start: {Pool, :start_link, [opts]}, type: :worker}
    end

    test "lets one supervisor have several pools" do
      names = for limit <- 1..3, do: {unique_name(), limit}
      children = for {name, limit} <- names, do: {Pool, name: name, limit: limit}
      start_supervised!(%{id: :tree, start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]}})
      for {name, limit} <- names, do: assert(Pool.info(name).limit == limit)
    end
  end

  describe "start_link/1" do
    test "links the owner to the caller and names no process" do
      name = unique_name()
      assert {:ok, pid} = Pool.start_link(name: name, limit: 1)
      assert {:links, links} = Process.info(self(), :links)
      assert pid in links
      assert Pool.info(name).owner == pid
      assert Process.whereis(name) == nil
    end

    test "takes every option" do
      name = start_pool(limit: 3, max_waiting: 4, max_overdraft: 5)
      assert %{limit: 3, max_waiting: 4} = Pool.info(name)
      name = start_pool(limit: 3, max_overdraft: :infinity)
      assert %{limit: 3, max_waiting: 1_000} = Pool.info(name)
    end

    test "takes the smallest and the largest values" do
      assert Pool.info(start_pool(limit: 0, max_waiting: 0, max_overdraft: 0)).limit == 0
      most = 2_147_483_647

      assert %{limit: ^most, available: ^most, max_waiting: ^most} =
               Pool.info(start_pool(limit: most, max_waiting: most))

      assert Pool.info(start_pool(limit: :infinity)).limit == :infinity
    end

    test "returns the owner of a taken name, and changes neither the caller nor the pool" do
      name = start_pool(limit: 2)
      owner = Pool.info(name).owner
      assert {:error, {:already_started, ^owner}} = Pool.start_link(name: name, limit: 7, max_waiting: 7)
      assert %{limit: 2, max_waiting: 1_000, owner: ^owner} = Pool.info(name)

      Process.flag(:trap_exit, true)
      assert {:error, {:already_started, ^owner}} = Pool.start_link(name: name, limit: 2)
      # If the refused owner above had sent an `:EXIT`, that would have arrived by the time that
      # this start is refused.
      assert tell(actor(), fn -> Pool.start_link(name: name, limit: 2) end) == {:error, {:already_started, owner}}
      assert mailbox() == []
    end

    test "a caller that does not trap exits survives a taken name" do
      name = start_pool(limit: 1)
      pid = actor()

      for _ <- 1..100,
          do: assert({:error, {:already_started, _}} = tell(pid, fn -> Pool.start_link(name: name, limit: 1) end))

      assert Process.alive?(pid)
      eventually(fn -> tell(pid, fn -> Process.info(self(), :links) end) == {:links, []} end)
    end

    test "of eight processes that start one name at once, one owns it and seven get its pid" do
      for _ <- 1..50 do
        name = unique_name()
        actors = for _ <- 1..8, do: actor()
        answers = actors |> Enum.map(&ask(&1, fn -> Pool.start_link(name: name, limit: 1) end)) |> Enum.map(&answer/1)
        assert [{:ok, owner}] = Enum.filter(answers, &match?({:ok, _}, &1))
        assert Enum.count(answers, &(&1 == {:error, {:already_started, owner}})) == 7
        assert Pool.info(name).owner == owner
        GenServer.stop(owner)
      end
    end
  end

  describe "new/1" do
    test "makes a pool of its own each time" do
      one = Pool.new(limit: 1)
      other = Pool.new(limit: 1)
      assert Pool.try_acquire(one) == :ok
      assert Pool.try_acquire(other) == :ok
      assert Pool.try_acquire(one) == {:error, :full}
      assert %{name: nil, owner: nil, status: :open} = Pool.info(one)
    end

    test "takes the options of start_link/1 except the name" do
      assert %{limit: 3, max_waiting: 4} = Pool.info(Pool.new(limit: 3, max_waiting: 4, max_overdraft: 5))
      assert Pool.info(Pool.new(limit: :infinity)).available == :infinity

      assert_raise ArgumentError, "Pool.new/1 takes no :name; use start_link/1", fn ->
        Pool.new(limit: 1, name: MyApp.Nameless)
      end
    end

    test "makes a handle that works in each process that gets it, by a closure or by ETS" do
      pool = Pool.new(limit: 2)
      table = :ets.new(:handles, [:public])
      :ets.insert(table, {:pool, pool})
      assert tell(actor(), fn -> Pool.try_acquire(pool) end) == :ok
      assert tell(actor(), fn -> Pool.try_acquire(:ets.lookup_element(table, :pool, 2)) end) == :ok
      assert Pool.try_acquire(pool) == {:error, :full}
    end
  end

  describe "try_acquire/2" do
    test "takes all permits that are asked for, or none" do
      for pool <- both(limit: 3) do
        assert Pool.try_acquire(pool) == :ok
        assert Pool.try_acquire(pool, 3) == {:error, :full}
        assert counts(pool) == {1, 1, 0}
        assert Pool.try_acquire(pool, 2) == :ok
        assert Pool.try_acquire(pool) == {:error, :full}
        assert Pool.try_acquire(pool, 1) == {:error, :full}
        assert counts(pool) == {3, 1, 0}
      end
    end

    test "refuses more than the limit" do
      for pool <- both(limit: 3) do
        assert Pool.try_acquire(pool, 4) == {:error, :full}
        assert Pool.try_acquire(pool, 2_147_483_647) == {:error, :full}
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "refuses everything at limit 0" do
      for pool <- both(limit: 0) do
        assert Pool.try_acquire(pool) == {:error, :full}
        assert Pool.try_acquire(pool, 5) == {:error, :full}
      end
    end

    test "counts permits and never refuses without a limit" do
      most = 2_147_483_647

      for pool <- both(limit: :infinity) do
        for _ <- 1..1_000, do: assert(Pool.try_acquire(pool) == :ok)
        for _ <- 1..1_000, do: assert(Pool.try_acquire(pool, most) == :ok)
        in_use = 1_000 + 1_000 * most
        assert %{in_use: ^in_use, available: :infinity, overdraft: 0, peak: ^in_use} = Pool.info(pool)
        for _ <- 1..1_000, do: assert(Pool.release(pool, most) == :ok)
        assert counts(pool) == {1_000, 1, 0}
      end
    end

    test "is refused by a pool that drains" do
      for pool <- both(limit: 3) do
        assert Pool.drain(pool) == :ok
        assert Pool.try_acquire(pool) == {:error, :closed}
        assert Pool.try_acquire(pool, 2) == {:error, :closed}
        assert Pool.try_acquire(pool, 4) == {:error, :closed}
      end
    end

    test "counts the permits of 100 processes separately" do
      for pool <- both(limit: 100) do
        holders = for _ <- 1..100, do: actor()
        for pid <- holders, do: assert(tell(pid, fn -> Pool.try_acquire(pool) end) == :ok)
        assert tell(actor(), fn -> Pool.try_acquire(pool) end) == {:error, :full}
        assert counts(pool) == {100, 100, 0}
        for pid <- holders, do: assert(tell(pid, fn -> Pool.release(pool) end) == :ok)
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "never admits more than the limit, however many ask at once" do
      for pool <- both(limit: 3) do
        inside = :atomics.new(2, [])

        work = fn ->
          for _ <- 1..5_000, Pool.try_acquire(pool) == :ok do
            now = :atomics.add_get(inside, 1, 1)
            if now > 3, do: :atomics.add(inside, 2, 1)
            :atomics.sub(inside, 1, 1)
            :ok = Pool.release(pool)
          end
        end

        for ref <- for(_ <- 1..8, do: ask(actor(), work)), do: answer(ref)
        assert :atomics.get(inside, 2) == 0
        assert counts(pool) == {0, 0, 0}
        assert Pool.info(pool).peak <= 3
      end
    end
  end

  describe "acquire/2 when it need not wait" do
    test "takes all permits that are asked for" do
      for pool <- both(limit: 3) do
        assert Pool.acquire(pool) == :ok
        assert Pool.acquire(pool, permits: 2) == :ok
        assert counts(pool) == {3, 1, 0}
        assert mailbox() == []
      end
    end

    test "with timeout 0 does not wait" do
      for pool <- both(limit: 1, max_waiting: 0) do
        assert Pool.acquire(pool, timeout: 0) == :ok
        assert Pool.acquire(pool, timeout: 0) == {:error, :full}
        assert Pool.acquire(pool, timeout: 0, permits: 2) == {:error, :full}
        Pool.drain(pool, 0)
        assert Pool.acquire(pool, timeout: 0) == {:error, :closed}
      end
    end

    test "more than the limit is refused at once, with any timeout" do
      for pool <- both(limit: 3) do
        assert Pool.acquire(pool, permits: 4, timeout: :infinity) == {:error, :full}
        _holder = holder(pool, 3)
        assert Pool.acquire(pool, permits: 4, timeout: :infinity) == {:error, :full}
        assert counts(pool) == {3, 1, 0}
      end
    end

    test "a draining pool refuses at once, with any timeout" do
      for pool <- both(limit: 3) do
        Pool.drain(pool)
        assert Pool.acquire(pool, timeout: :infinity) == {:error, :closed}
        assert Pool.acquire(pool, timeout: :infinity, permits: 9) == {:error, :closed}
      end
    end
  end

  describe "release/2" do
    test "returns one permit, or the given number" do
      for pool <- both(limit: 5) do
        :ok = Pool.acquire(pool, permits: 5)
        assert Pool.release(pool) == :ok
        assert Pool.info(pool).in_use == 4
        assert Pool.release(pool, 3) == :ok
        assert Pool.info(pool).in_use == 1
        assert Pool.release(pool, 1) == :ok
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "of nothing, or more than is held, changes nothing" do
      for pool <- both(limit: 5) do
        assert Pool.release(pool) == {:error, :not_held}
        :ok = Pool.acquire(pool, permits: 2)
        assert Pool.release(pool, 3) == {:error, :not_held}
        assert Pool.release(pool, 2_147_483_647) == {:error, :not_held}
        assert counts(pool) == {2, 1, 0}
        assert Pool.release(pool, 2) == :ok
        assert Pool.release(pool) == {:error, :not_held}
        assert Pool.release(pool, 2) == {:error, :not_held}
        assert counts(pool) == {0, 0, 0}
      end
    end

    test "of what another process holds changes nothing" do
      for pool <- both(limit: 5) do
        _holder = holder(pool, 3)
        assert Pool.release(pool) == {:error, :not_held}
        :ok = Pool.acquire(pool)
        assert Pool.release(pool, 2) == {:error, :not_held}
        assert counts(pool) == {4, 2, 0}
      end
    end

    test "of what is bound to a run changes nothing" do
      for pool <- both(limit: 5) do
        Penstock.run(pool, fn ->
          assert Pool.release(pool) == {:error, :not_held}
          :ok = Pool.acquire(pool, permits: 2)
          assert Pool.release(pool, 3) == {:error, :not_held}
          assert Pool.release(pool, 2) == :ok
          assert counts(pool) == {1, 1, 0}
        end)

        assert counts(pool) == {0, 0, 0}
      end
    end

    test "works while the pool drains" do
      for pool <- both(limit: 5) do
        :ok = Pool.acquire(pool, permits: 2)
        assert Pool.drain(pool, 0) == {:error, {:timeout, 2}}
        assert Pool.release(pool, 2) == :ok
        assert Pool.drain(pool, 0) == :ok
      end
    end
  end

  describe "update/2" do
    test "changes the given options only" do
      for pool <- both(limit: 2, max_waiting: 3) do
        assert Pool.update(pool, limit: 5) == :ok
        assert %{limit: 5, max_waiting: 3} = Pool.info(pool)
        assert Pool.update(pool, max_waiting: 9) == :ok
        assert %{limit: 5, max_waiting: 9} = Pool.info(pool)
        assert Pool.update(pool, limit: 0, max_waiting: 0) == :ok
        assert %{limit: 0, max_waiting: 0} = Pool.info(pool)
        assert Pool.update(pool, []) == :ok
        assert %{limit: 0, max_waiting: 0} = Pool.info(pool)
        assert Pool.update(pool, limit: :infinity) == :ok
        assert %{limit: :infinity, available: :infinity} = Pool.info(pool)
      end
    end

    test "puts a larger or smaller limit in force at once" do
      for pool <- both(limit: 1) do
        :ok = Pool.try_acquire(pool)
        Pool.update(pool, limit: 3)
        assert Pool.try_acquire(pool, 2) == :ok
        Pool.update(pool, limit: 2)
        assert %{in_use: 3, available: 0, overdraft: 1} = Pool.info(pool)
        assert Pool.release(pool) == :ok
        assert %{in_use: 2, available: 0, overdraft: 0} = Pool.info(pool)
        assert Pool.try_acquire(pool) == {:error, :full}
        assert Pool.release(pool) == :ok
        assert Pool.try_acquire(pool) == :ok
      end
    end

    test "from a limit to none and back keeps the count" do
      for pool <- both(limit: 2) do
        :ok = Pool.acquire(pool, permits: 2)
        Pool.update(pool, limit: :infinity)
        assert Pool.try_acquire(pool, 10) == :ok
        assert %{in_use: 12, overdraft: 0} = Pool.info(pool)
        Pool.update(pool, limit: 10)
        assert %{in_use: 12, overdraft: 2, available: 0} = Pool.info(pool)
        assert Pool.release(pool, 3) == :ok
        assert Pool.try_acquire(pool) == :ok
        assert Pool.try_acquire(pool) == {:error, :full}
      end
    end

    test "2,000 times under load loses no permit and admits no more than the largest limit" do
      for pool <- both(limit: 8) do
        work = fn ->
          for _ <- 1..3_000, Pool.acquire(pool, permits: 1 + :rand.uniform(3)) == :ok do
            %{pid: _, permits: held} = Enum.find(Pool.holders(pool), &(&1.pid == self()))
            :ok = Pool.release(pool, held)
          end
        end

        refs = for _ <- 1..4, do: ask(actor(), work)
        shaker = ask(actor(), fn -> for limit <- 1..2_000, do: :ok = Pool.update(pool, limit: 4 + rem(limit, 9)) end)
        Enum.each([shaker | refs], &answer/1)
        assert counts(pool) == {0, 0, 0}
        assert Pool.info(pool).peak <= 12
        Pool.update(pool, limit: 8)
        assert Pool.try_acquire(pool, 8) == :ok
      end
    end
  end

  describe "inspect" do
    test "shows use and limit, and marks a forged handle as invalid" do
      assert inspect(Pool.new(limit: 3)) == "#Penstock.Pool<in_use: 0, limit: 3>"
      assert inspect(Pool.new(limit: :infinity)) == "#Penstock.Pool<in_use: 0, limit: infinity>"
      assert inspect(struct!(Pool, ref: make_ref())) == "#Penstock.Pool<invalid>"
      assert inspect(struct!(Pool, ref: :not_a_ref)) == "#Penstock.Pool<invalid>"
    end
  end
end
