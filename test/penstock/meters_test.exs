defmodule Penstock.MetersTest do
  # The figures of a gate for its metrics, by Native.gate_meters/1.
  #
  # | scenario                                 | rules out                                           |
  # |------------------------------------------|-----------------------------------------------------|
  # | a new gate of each kind                  | a figure that a kind lacks, or does not begin at 0  |
  # | a close and a start, each kind           | two openings with one number                        |
  # | an owner that is killed                  | a figure or a number that the next owner loses      |
  # | each way in which a hold or a wait ends  | a time that is missing, twice, or in a wrong bucket |
  # | each reason of a refusal                 | a refusal that counts for another reason            |
  # | restarts, kills and bans                 | one that does not count, or counts twice            |
  # | terms that are no gate, unnamed pools    | an answer about no gate                             |
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, Gate, KeyedPool, Native, RateLimiter}

  @none {List.duplicate(0, 15), 0}
  @kinds [:pool, :keyed_pool, :limiter, :ban, :gate]

  # Starts a gate of this kind that ends with the test. Returns its name.
  defp start(kind, name \\ unique_name()) do
    child =
      case kind do
        :pool -> {Pool, name: name, limit: 2, max_waiting: 1, max_overdraft: 1}
        :keyed_pool -> {KeyedPool, name: name, limit: 2, max_keys: 2, max_waiting: 1, max_overdraft: 1}
        :limiter -> {RateLimiter, name: name, limit: 1, per: 1_000}
        :ban -> {Ban, name: name}
        :gate -> {Gate, name: name, limits: [start(:pool)]}
      end

    start_supervised!(child, id: name)
    name
  end

  describe "a new gate" do
    test "has 15 buckets, one more than edges" do
      edges = Native.meter_edges()
      assert edges == [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000]
      assert {counts, 0} = Native.gate_meters(start(:pool)).hold
      assert length(counts) == length(edges) + 1
    end

    test "has the figures of its kind, which are all 0" do
      none = %{hold: @none, wait: @none, overdrawn: 0, killed: 0}

      for {kind, figures} <- [
            pool: Map.put(none, :refused, %{full: 0, queue_full: 0, closed: 0}),
            keyed_pool: Map.put(none, :refused, %{key_full: 0, table_full: 0, queue_full: 0, closed: 0}),
            ban: %{banned: 0},
            limiter: %{},
            gate: %{}
          ] do
        meters = Native.gate_meters(start(kind))
        assert {kind, Map.delete(meters, :opening)} == {kind, figures}
        assert is_integer(meters.opening) and meters.opening > 0
      end
    end
  end

  for kind <- @kinds do
    test "each opening of a #{kind} has another number" do
      name = unique_name()

      openings =
        for _ <- 1..3 do
          start(unquote(kind), name)
          opening = Native.gate_meters(name).opening
          assert Native.gate_meters(name).opening == opening
          :ok = stop_supervised(name)
          assert eventually(fn -> Native.gate_meters(name) == :no_gate end)
          opening
        end

      assert Enum.uniq(openings) == openings
    end

    test "an owner of a #{kind} that takes over keeps the number" do
      name = start(unquote(kind))
      opening = Native.gate_meters(name).opening
      owner = Native.gate_owner(name)
      kill(owner)
      assert eventually(fn -> Native.gate_owner(name) not in [owner, nil] end)
      assert Native.gate_meters(name).opening == opening
    end
  end

  # The same calls of a pool, and of one key of a keyed pool.
  defp acquire(:pool, name, opts), do: Pool.acquire(name, opts)
  defp acquire(:keyed_pool, name, opts), do: KeyedPool.acquire(name, :key, opts)
  defp release(:pool, name, permits), do: Pool.release(name, permits)
  defp release(:keyed_pool, name, permits), do: KeyedPool.release(name, :key, permits)
  defp drain(:pool, name), do: Pool.drain(name, 0)
  defp drain(:keyed_pool, name), do: KeyedPool.drain(name, 0)
  defp info(:pool, name), do: Pool.info(name)
  defp info(:keyed_pool, name), do: KeyedPool.info(name)
  defp holders(:pool, name), do: Pool.holders(name)
  defp holders(:keyed_pool, name), do: KeyedPool.holders(name, :key)
  defp opts(:pool), do: []
  defp opts(:keyed_pool), do: [key: :key]

  defp holder_of(kind, name, permits) do
    pid = actor()
    :ok = tell(pid, fn -> acquire(kind, name, permits: permits) end)
    pid
  end

  defp count({counts, _sum}), do: Enum.sum(counts)
  defp holds(name), do: count(Native.gate_meters(name).hold)
  defp waits(name), do: count(Native.gate_meters(name).wait)

  # Awaits that each holder has held for more than `ms`.
  defp await_held(kind, name, ms), do: eventually(fn -> Enum.all?(holders(kind, name), &(&1.held_ms > ms)) end)

  # Parks an actor, which waits until it is answered.
  defp parked(kind, name) do
    before = info(kind, name).waiting
    pid = actor()
    ref = ask(pid, fn -> acquire(kind, name, permits: 2, timeout: :infinity) end)
    eventually(fn -> info(kind, name).waiting > before end)
    {pid, ref}
  end

  for kind <- [:pool, :keyed_pool] do
    @kind kind

    describe "a hold of a #{kind}" do
      test "ends once, with the last permit, in the bucket of its time" do
        name = start(@kind)
        :ok = acquire(@kind, name, [])
        :ok = acquire(@kind, name, [])
        await_held(@kind, name, 10)
        :ok = release(@kind, name, 1)
        assert holds(name) == 0
        :ok = release(@kind, name, 1)
        assert {[0, 0 | later], sum} = Native.gate_meters(name).hold
        assert Enum.sum(later) == 1
        assert sum > 10
      end

      test "that is short counts in the first bucket" do
        name = start(@kind)

        for _ <- 1..50 do
          :ok = acquire(@kind, name, [])
          :ok = release(@kind, name, 1)
        end

        assert {[first | _] = counts, _sum} = Native.gate_meters(name).hold
        assert Enum.sum(counts) == 50
        # The system may interrupt a few of them for longer.
        assert first > 25
      end

      test "ends by the death of the holder, whose permits count once" do
        name = start(@kind)
        holder = holder_of(@kind, name, 2)
        await_held(@kind, name, 5)
        kill(holder)
        assert eventually(fn -> info(@kind, name).in_use == 0 end)
        assert {[0 | later], _sum} = Native.gate_meters(name).hold
        assert Enum.sum(later) == 1
      end

      test "of a child that is dead when it gets its permits ends at once, and they come back by its exit" do
        name = start(@kind)
        dead = actor()
        kill(dead)

        for n <- 1..3 do
          {:ok, ^dead} = Penstock.start_process(name, fn -> {:ok, dead} end, [permits: 2] ++ opts(@kind))
          assert %{acquired: ^n, in_use: 0, released_by_exit: exits} = info(@kind, name)
          assert {exits, holds(name)} == {2 * n, n}
        end
      end

      test "ends with the work of run/3, and of the child alone with that of spawn/3" do
        name = start(@kind)
        {:ok, :done} = Penstock.run(name, fn -> :done end, opts(@kind))
        assert holds(name) == 1
        {:ok, {child, monitor}} = Penstock.spawn_monitor(name, fn -> receive(do: (:stop -> :ok)) end, opts(@kind))
        assert holds(name) == 1
        send(child, :stop)
        assert_receive {:DOWN, ^monitor, :process, ^child, :normal}
        assert eventually(fn -> info(@kind, name).in_use == 0 end)
        assert holds(name) == 2
      end
    end

    describe "a wait of a #{kind}" do
      test "counts when it is granted, in the bucket of its time" do
        name = start(@kind)
        :ok = acquire(@kind, name, permits: 2)
        {_pid, ref} = parked(@kind, name)
        since = System.monotonic_time(:millisecond)
        eventually(fn -> System.monotonic_time(:millisecond) > since + 20 end)
        assert waits(name) == 0
        :ok = release(@kind, name, 2)
        assert answer(ref) == :ok
        assert {[0 | later], sum} = Native.gate_meters(name).wait
        assert Enum.sum(later) == 1
        assert sum > 5
      end

      test "counts when it times out, and when it is refused" do
        name = start(@kind)
        :ok = acquire(@kind, name, [])
        assert tell(actor(), fn -> acquire(@kind, name, permits: 2, timeout: 10) end) == {:error, :timeout}
        assert waits(name) == 1
        {_pid, ref} = parked(@kind, name)
        {:error, _undrained} = drain(@kind, name)
        assert answer(ref) == {:error, :closed}
        assert waits(name) == 2
      end

      test "does not count if the waiter dies, nor does a request that is admitted at once" do
        name = start(@kind)
        :ok = acquire(@kind, name, timeout: :infinity)
        {pid, _ref} = parked(@kind, name)
        kill(pid)
        assert eventually(fn -> info(@kind, name).waiting == 0 end)
        assert waits(name) == 0
      end
    end

    test "refusals of a #{kind} count by their reason, and add up to rejected" do
      name = start(@kind)
      full = if @kind == :pool, do: :full, else: :key_full
      holder = holder_of(@kind, name, 2)
      {:error, ^full} = acquire(@kind, name, timeout: 0)
      {:error, ^full} = acquire(@kind, name, permits: 3, timeout: :infinity)
      {_pid, ref} = parked(@kind, name)
      {:error, :queue_full} = acquire(@kind, name, timeout: :infinity)

      if @kind == :keyed_pool do
        :ok = KeyedPool.try_acquire(name, :other)
        {:error, :table_full} = KeyedPool.try_acquire(name, :third)
        :ok = KeyedPool.release(name, :other)
      end

      {:error, _undrained} = drain(@kind, name)
      {:error, :closed} = answer(ref)
      {:error, :closed} = acquire(@kind, name, timeout: 0)
      {:error, :closed} = acquire(@kind, name, timeout: :infinity)

      refused = Native.gate_meters(name).refused
      expected = %{full => 2, queue_full: 1, closed: 3}
      assert refused == if(@kind == :pool, do: expected, else: Map.put(expected, :table_full, 1))
      assert Enum.sum(Map.values(refused)) == info(@kind, name).rejected
      kill(holder)
    end

    test "a restart beyond the limit of a #{kind} counts, one within the limit does not" do
      name = start(@kind)

      restart =
        if @kind == :pool,
          do: fn -> Native.restart_take(name, 1, 0) end,
          else: fn -> with {:ok, _set} <- Native.keyed_restart(name, :key, 1, 0, :measured), do: :ok end

      for overdrawn <- [0, 0, 1] do
        assert restart.() == :ok
        assert Native.gate_meters(name).overdrawn == overdrawn
      end
    end

    test "a process that a #{kind} admitted and that runs too long counts as killed" do
      name = start(@kind)
      {:ok, {pid, monitor}} = Penstock.spawn_monitor(name, &never/0, [max_runtime: 10] ++ opts(@kind))
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
      assert Native.gate_meters(name).killed == 1
    end

    test "the figures of a #{kind} survive a kill of its owner, and begin at 0 with the next opening" do
      name = start(@kind)
      holder = holder_of(@kind, name, 2)
      {:error, _full} = acquire(@kind, name, timeout: 0)
      {:error, :timeout} = acquire(@kind, name, timeout: 1)
      :ok = tell(holder, fn -> release(@kind, name, 2) end)
      before = Native.gate_meters(name)
      assert {count(before.hold), count(before.wait), Enum.sum(Map.values(before.refused))} == {1, 1, 1}

      owner = Native.gate_owner(name)
      kill(owner)
      assert eventually(fn -> Native.gate_owner(name) not in [owner, nil] end)
      assert Native.gate_meters(name) == before

      :ok = stop_supervised(name)
      start(@kind, name)
      assert %{hold: @none, wait: @none} = meters = Native.gate_meters(name)
      assert meters.refused |> Map.values() |> Enum.sum() == 0
      assert meters.opening != before.opening
    end
  end

  defp never, do: receive(do: (:never -> :ok))

  test "a transfer of the last permit ends a hold, and the receiver's hold ends with its release" do
    name = start(:pool)
    receiver = actor()
    :ok = Pool.acquire(name, permits: 2)
    :ok = Pool.transfer(name, receiver, 1)
    assert holds(name) == 0
    :ok = Pool.transfer(name, receiver, 1)
    assert holds(name) == 1
    :ok = tell(receiver, fn -> Pool.release(name, 2) end)
    assert holds(name) == 2
  end

  test "a wait by messages counts when it is granted or times out, not when it is cancelled" do
    name = start(:pool)
    :ok = Pool.acquire(name, permits: 2)
    {:ok, ref} = Pool.acquire_async(name, timeout: 1)
    assert_receive {^ref, {:error, :timeout}}
    assert waits(name) == 1
    {:ok, ref} = Pool.acquire_async(name)
    :ok = Pool.cancel(name, ref)
    assert waits(name) == 1
    {:ok, ref} = Pool.acquire_async(name)
    :ok = Pool.release(name)
    assert_receive {^ref, :ok}
    assert waits(name) == 2
  end

  test "a kill counts for each pool of a gate" do
    [pool, keyed] = [start(:pool), start(:keyed_pool)]
    gate = unique_name()
    start_supervised!({Gate, name: gate, limits: [pool, keyed]}, id: gate)
    {:ok, {pid, monitor}} = Penstock.spawn_monitor(gate, &never/0, key: :key, max_runtime: 10)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert {Native.gate_meters(pool).killed, Native.gate_meters(keyed).killed} == {1, 1}
  end

  test "bans count, by failures and by hand, and begin at 0 with the next opening" do
    name = unique_name()
    start_supervised!({Ban, name: name, failures: 2}, id: name)
    {:ok, 1} = Ban.record_failure(name, :a)
    assert Native.gate_meters(name).banned == 0
    {:banned, _ms} = Ban.record_failure(name, :a)
    {:banned, _ms} = Ban.record_failure(name, :a)
    assert Native.gate_meters(name).banned == 1
    :ok = Ban.ban(name, :b, 1_000)
    :ok = Ban.unban(name, :b)
    assert Native.gate_meters(name).banned == 2

    owner = Native.gate_owner(name)
    kill(owner)
    assert eventually(fn -> Native.gate_owner(name) not in [owner, nil] end)
    assert Native.gate_meters(name).banned == 2

    :ok = stop_supervised(name)
    start_supervised!({Ban, name: name, failures: 2}, id: name)
    assert Native.gate_meters(name).banned == 0
  end

  test "a term that is no named gate has no meters" do
    for term <- [unique_name(), nil, self(), make_ref(), "name", 1, 1.5, %{}, [], Pool.new(limit: 1).ref] do
      assert Native.gate_meters(term) == :no_gate
    end
  end
end
