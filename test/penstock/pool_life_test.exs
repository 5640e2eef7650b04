defmodule Penstock.PoolLifeTest do
  # The start of a pool, the end of its owner, and the next pool of the name. See also
  # pool_start_test.exs.
  #
  # | scenario                               | rules out                                        |
  # |----------------------------------------|--------------------------------------------------|
  # | an orderly end of the owner            | a caller without an answer; a permit that stays  |
  # | the owner crashes, or its parent does  | holders, waiters, counts or a name that are lost |
  # | a start after a crash, options changed | a value that neither update nor option has set   |
  # | messages and exits of strangers        | an owner that ends because of them               |
  # | calls after a close                    | an answer instead of an exception                |
  # | 300 pools of one name under load       | a permit that survives its pool                  |
  use Penstock.PoolCase, async: true

  # Starts a pool whose owner can end in any way without ending the test.
  defp start_alone(opts) do
    name = Keyword.get_lazy(opts, :name, &unique_name/0)
    {:ok, owner} = Pool.start_link(Keyword.put(opts, :name, name))
    Process.unlink(owner)
    on_exit(fn -> Process.exit(owner, :kill) end)
    {name, owner}
  end

  defp assert_gone(name) do
    message = not_running("pool", name)
    assert_raise ArgumentError, message, fn -> Pool.info(name) end
    assert_raise ArgumentError, message, fn -> Pool.try_acquire(name) end
  end

  describe "an orderly end of the owner" do
    for reason <- [:normal, :shutdown, {:shutdown, :reason}] do
      test "with #{inspect(reason)} closes the pool" do
        {name, owner} = start_alone(limit: 2)
        holder = holder(name, 2)
        {_, ref} = park(name)
        runner = actor()
        run = ask(runner, fn -> Penstock.run(name, fn -> :never end) end)
        spawner = actor()
        spawn = ask(spawner, fn -> Penstock.spawn(name, fn -> :never end, timeout: 5_000) end)
        await_waiting(name, 3)

        GenServer.stop(owner, unquote(Macro.escape(reason)))
        for ref <- [ref, run, spawn], do: assert(answer(ref) == {:error, :closed})
        assert_gone(name)
        refute name in Enum.map(Penstock.list(), & &1.name)

        # A new pool of that name knows nothing of the old one.
        {^name, _} = start_alone(name: name, limit: 3)
        assert %{in_use: 0, holders: 0, peak: 0, acquired: 0, rejected: 0} = Pool.info(name)
        assert tell(holder, fn -> Pool.release(name) end) == {:error, :not_held}
        assert tell(holder, fn -> Pool.acquire(name, permits: 2) end) == :ok
        assert counts(name) == {2, 1, 0}
        kill(holder)
        eventually(fn -> counts(name) == {0, 0, 0} end)
        assert Pool.try_acquire(name, 3) == :ok
        assert Pool.info(name).released_by_exit == 2
      end

      test "by its parent's #{inspect(reason)} closes the pool" do
        name = unique_name()
        parent = actor()
        {:ok, owner} = tell(parent, fn -> Pool.start_link(name: name, limit: 2) end)
        monitor = Process.monitor(owner)
        ask(parent, fn -> exit(unquote(Macro.escape(reason))) end)
        assert await_down(monitor) == unquote(Macro.escape(reason))
        assert_gone(name)
      end
    end

    test "by its supervisor closes the pool" do
      name = start_pool(limit: 1)
      :ok = stop_supervised({Pool, name})
      assert_gone(name)
    end

    test "of a thousand pools with one name frees the name each time" do
      name = unique_name()

      for n <- 1..1_000 do
        {:ok, owner} = Pool.start_link(name: name, limit: n)
        assert Pool.try_acquire(name, n) == :ok
        assert Pool.info(name).in_use == n
        if rem(n, 2) == 0, do: :ok = Pool.release(name, n)
        GenServer.stop(owner)
      end

      assert_gone(name)
    end
  end

  describe "a crash of the owner" do
    for {how, crash} <- [
          kill: quote(do: fn owner -> Process.exit(owner, :kill) end),
          reason: quote(do: fn owner -> GenServer.stop(owner, :crashed) end),
          exception: quote(do: fn owner -> GenServer.call(owner, :unknown) end)
        ] do
      test "(#{how}) leaves holders, waiters, counts and the name" do
        {name, owner} = start_alone(limit: 2)
        holder = holder(name, 2)
        {_, ref} = park(name)
        assert Pool.try_acquire(name) == {:error, :full}
        monitor = Process.monitor(owner)
        crash = unquote(crash)
        spawn(fn -> crash.(owner) end)
        await_down(monitor)

        assert %{in_use: 2, holders: 1, waiting: 1, status: :open, rejected: 1, acquired: 1} = Pool.info(name)
        assert Pool.try_acquire(name) == {:error, :full}
        assert name in Enum.map(Penstock.list(), & &1.name)
        assert tell(holder, fn -> Pool.release(name) end) == :ok
        assert answer(ref) == :ok
        assert counts(name) == {2, 2, 0}

        {^name, adopter} = start_alone(name: name, limit: 2)
        assert %{owner: ^adopter, in_use: 2, holders: 2, acquired: 2, rejected: 2, peak: 2} = Pool.info(name)
        kill(holder)
        eventually(fn -> counts(name) == {1, 1, 0} end)
      end
    end

    test "with its killed parent leaves the pool" do
      name = unique_name()
      parent = actor()
      {:ok, owner} = tell(parent, fn -> Pool.start_link(name: name, limit: 2) end)
      monitor = Process.monitor(owner)
      :ok = Pool.acquire(name)
      Process.exit(parent, :kill)
      assert await_down(monitor) == :killed
      assert counts(name) == {1, 1, 0}
    end

    test "keeps updated values, except where an option of the next start has changed" do
      {name, owner} = start_alone(limit: 5, max_waiting: 6)
      Pool.update(name, limit: 9, max_waiting: 10)

      kill(owner)
      {^name, owner} = start_alone(name: name, limit: 5, max_waiting: 6)
      assert %{limit: 9, max_waiting: 10} = Pool.info(name)

      kill(owner)
      {^name, owner} = start_alone(name: name, limit: 5, max_waiting: 7)
      assert %{limit: 9, max_waiting: 7} = Pool.info(name)

      kill(owner)
      {^name, owner} = start_alone(name: name, limit: 4, max_waiting: 7)
      assert %{limit: 4, max_waiting: 7} = Pool.info(name)

      # An option has changed if it differs from the option of the last start, not of the first.
      kill(owner)
      {^name, owner} = start_alone(name: name, limit: 5, max_waiting: 7)
      assert %{limit: 5, max_waiting: 7} = Pool.info(name)

      # A refused start changes nothing.
      assert {:error, {:already_started, ^owner}} = Pool.start_link(name: name, limit: 1)
      assert Pool.info(name).limit == 5
    end

    test "and an adoption with a larger limit wake waiters; one with a smaller limit refuses some of them" do
      {name, owner} = start_alone(limit: 4)
      holder = holder(name, 4)
      {_, ref} = park(name, permits: 2)
      kill(owner)
      {^name, owner} = start_alone(name: name, limit: 6)
      assert answer(ref) == :ok
      {_, large} = park(name, permits: 4)
      {_, small} = park(name, permits: 3)
      kill(owner)
      {^name, _} = start_alone(name: name, limit: 3)
      assert answer(large) == {:error, :full}
      assert %{in_use: 6, overdraft: 3, waiting: 1} = Pool.info(name)
      kill(holder)
      refute_received {^small, _}
      eventually(fn -> counts(name) == {2, 1, 1} end)
    end

    test "while the pool drains leaves it draining" do
      {name, owner} = start_alone(limit: 2)
      Pool.drain(name)
      kill(owner)
      {^name, _} = start_alone(name: name, limit: 2)
      assert Pool.info(name).status == :draining
      assert Pool.try_acquire(name) == {:error, :closed}
      Pool.reopen(name)
      assert Pool.try_acquire(name) == :ok
    end

    test "under a supervisor is followed by an adoption" do
      name = start_pool(limit: 3)
      _holder = holder(name, 2)
      Pool.update(name, limit: 5)
      owner = Pool.info(name).owner
      kill(owner)
      # The pool admits callers while it has no owner.
      assert Pool.try_acquire(name) == :ok
      eventually(fn -> (now = Pool.info(name).owner) != owner and Process.alive?(now) end)
      assert %{limit: 5, in_use: 3, holders: 2} = Pool.info(name)
    end
  end

  describe "the owner" do
    test "ignores messages, and exits of strangers" do
      {name, owner} = start_alone(limit: 2)
      send(owner, :anything)
      send(owner, {make_ref(), :granted})

      # Another process sends these exits, because the owner obeys an exit of its parent, the
      # test.
      tell(actor(), fn ->
        Process.exit(owner, :shutdown)
        Process.exit(owner, :boom)
      end)

      {_, monitor} = spawn_monitor(fn -> Process.link(owner) && exit(:boom) end)
      assert await_down(monitor) == :boom
      assert :sys.get_state(owner) == name
      assert Pool.info(name).owner == owner
    end
  end

  describe "after a close" do
    test "each function with the name raises" do
      {name, owner} = start_alone(limit: 2)
      :ok = Pool.acquire(name)
      GenServer.stop(owner)

      calls = [
        fn -> Pool.try_acquire(name) end,
        fn -> Pool.try_acquire(name, 2) end,
        fn -> Pool.acquire(name) end,
        fn -> Pool.acquire(name, permits: 2, timeout: 0) end,
        fn -> Pool.release(name) end,
        fn -> Pool.release(name, 2) end,
        fn -> Pool.transfer(name, self()) end,
        fn -> Pool.update(name, limit: 3) end,
        fn -> Pool.info(name) end,
        fn -> Pool.holders(name) end,
        fn -> Pool.drain(name) end,
        fn -> Pool.reopen(name) end,
        fn -> Penstock.run(name, fn -> :never end) end,
        fn -> Penstock.run(name, fn -> :never end, timeout: 0) end,
        fn -> Penstock.run!(name, fn -> :never end) end,
        fn -> Penstock.spawn(name, fn -> :never end) end,
        fn -> Penstock.spawn(name, fn -> :never end, timeout: 5) end,
        fn -> Penstock.spawn_link(name, fn -> :never end) end,
        fn -> Penstock.spawn_monitor(name, fn -> :never end) end
      ]

      for call <- calls do
        assert_raise ArgumentError, not_running("(pool|gate)", name), call
      end

      assert mailbox() == []
    end

    test "each of 200 waiters has got :closed" do
      {name, owner} = start_alone(limit: 1)
      :ok = Pool.acquire(name)
      waiters = for _ <- 1..200, do: park(name)
      GenServer.stop(owner)
      for {_, ref} <- waiters, do: assert(answer(ref) == {:error, :closed})
    end

    test "a parked drain has returned how many permits were held" do
      {name, owner} = start_alone(limit: 3)
      _holder = holder(name, 2)
      drainer = actor()
      ref = ask(drainer, fn -> Pool.drain(name, :infinity) end)
      eventually(fn -> Pool.info(name).status == :draining end)
      # The drainer sleeps in its receive once it is parked.
      eventually(fn -> Process.info(drainer, :status) == {:status, :waiting} end)
      GenServer.stop(owner)
      assert answer(ref) == {:error, {:timeout, 2}}
    end
  end

  describe "starting and stopping a name 300 times" do
    test "leaves no permit of callers that use the name meanwhile" do
      name = unique_name()
      stopped = :atomics.new(1, [])

      work = fn ->
        Stream.repeatedly(fn ->
          try do
            case Pool.acquire(name, permits: 2, timeout: 2) do
              :ok -> Pool.release(name, 2)
              {:error, _} -> :ok
            end

            Penstock.run(name, fn -> :erlang.yield() end, timeout: 1)
            Penstock.spawn(name, fn -> :ok end)
          rescue
            error in ArgumentError -> assert error.message =~ not_running("(pool|gate)", name)
          end
        end)
        |> Enum.find(fn _ -> :atomics.get(stopped, 1) == 1 end)

        mailbox()
      end

      workers = for _ <- 1..4, do: actor()
      refs = for pid <- workers, do: ask(pid, work)

      for n <- 1..300 do
        {:ok, owner} = Pool.start_link(name: name, limit: 3)
        if rem(n, 3) == 0, do: :erlang.yield()
        GenServer.stop(owner)
      end

      {:ok, _owner} = Pool.start_link(name: name, limit: 3)
      :atomics.put(stopped, 1, 1)
      for ref <- refs, do: assert(answer(ref) == [])
      # A worker may still hold permits of a closed pool. The death of the worker must not return
      # these permits to the last pool.
      Enum.each(workers, &kill/1)
      eventually(fn -> counts(name) == {0, 0, 0} end)
      assert Pool.try_acquire(name, 3) == :ok
      assert Pool.info(name).available == 0
    end
  end

  describe "an unnamed pool" do
    test "outlives its maker, as long as a process refers to it" do
      maker = actor()
      pool = tell(maker, fn -> Pool.new(limit: 1) end)
      :ok = Pool.acquire(pool)
      kill(maker)
      :erlang.garbage_collect()
      assert counts(pool) == {1, 1, 0}
    end
  end
end
