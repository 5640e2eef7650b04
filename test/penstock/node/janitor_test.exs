defmodule Penstock.Node.JanitorTest do
  # The tests suspend and kill the janitor. Not async, because it serves all pools of the VM.
  #
  # | scenario                                 | rules out                                       |
  # |------------------------------------------|-------------------------------------------------|
  # | supervisors die without a janitor        | a supervisor's name that outlives it            |
  # | an update for all or some waiters        | a waiter left parked, or woken beyond the limit |
  # | the janitor is killed at work            | waiters that only the dead janitor knew of      |
  # | a janitor that begins after ten updates  | a pool that its predecessor alone knew of       |
  # | callers while there is no janitor        | a caller that overtakes waiters                 |
  # | a close and a drain of 10,000 waiters    | a waiter without an answer                      |
  # | a limit that falls, and is then 0        | a refusal of requests within the limit          |
  # | 10,000 holders die before 10,000 waiters | a free permit that no waiter gets               |
  # | an owner dies, and is replaced or not    | a pool that closes early, or never              |
  use Penstock.PoolCase, async: false

  alias Penstock.Node.Janitor
  alias Penstock.Supervision.{Group, Partitions}

  # This is more waiters than one native call serves, so the janitor serves the rest.
  @many 10_000

  # Parks `count` waiters. Each sends the answer of `acquire` to the test, as `{:answer, answer}`.
  defp park_many(pool, permits, count \\ @many) do
    test = self()
    before = Pool.info(pool).waiting

    pids =
      for _ <- 1..count do
        spawn(fn ->
          send(test, {:answer, Pool.acquire(pool, permits: permits, timeout: :infinity)})
          receive do: (:stop -> :ok)
        end)
      end

    on_exit(fn -> Enum.each(pids, &Process.exit(&1, :kill)) end)
    await_waiting(pool, before + count)
    pids
  end

  defp answers(count) do
    Enum.frequencies_by(1..count, fn _ ->
      assert_receive {:answer, answer}
      answer
    end)
  end

  defp without_janitor(fun) do
    :ok = :sys.suspend(Janitor)
    fun.()
  after
    if is_pid(Process.whereis(Janitor)), do: :sys.resume(Janitor)
  end

  defp kill_janitor do
    before = Process.whereis(Janitor)
    kill(before)
    eventually(fn -> (now = Process.whereis(Janitor)) != nil and now != before end)
  end

  test "a new janitor forgets a supervisor that died before the janitor began, with a pool of its own or a gate" do
    Process.flag(:trap_exit, true)
    gate = start_pool(limit: 1)

    for opts <- [[limit: 1], [gate: gate]] do
      [name, other] = [unique_name(), unique_name()]
      {:ok, killed} = Penstock.Task.Supervisor.start_link([name: name] ++ opts)
      {:ok, living} = Penstock.Task.Supervisor.start_link([name: other] ++ opts)
      partitions = for supervisor <- [name, other], pid <- partitions(supervisor), do: Process.monitor(pid)
      # The supervisor dies while the janitor is suspended, and the janitor is killed before it
      # can act on that death.
      :ok = :sys.suspend(Janitor)
      kill(killed)
      kill_janitor()
      eventually(fn -> :ets.lookup(Penstock.Supervision.Directory, name) == [] end)
      # The new janitor watches the supervisor that lives.
      kill(living)
      eventually(fn -> :ets.lookup(Penstock.Supervision.Directory, other) == [] end)
      # Each partition logs that its front was killed. The test waits until the partitions are
      # dead, because ExUnit captures the log only while the test runs.
      Enum.each(partitions, &await_down/1)
    end
  end

  defp partitions(name) do
    group = Partitions.fetch!(Penstock.Task.Supervisor, name)
    for partition <- Group.partitions(group), do: Process.whereis(partition)
  end

  test "10,000 waiters are woken by one update" do
    for pool <- both(limit: 0, max_waiting: @many) do
      park_many(pool, 1)
      Pool.update(pool, limit: @many)
      assert answers(@many) == %{:ok => @many}
      assert counts(pool) == {@many, @many, 0}
      assert %{acquired: @many, peak: @many, available: 0} = Pool.info(pool)
    end
  end

  test "a limit that makes room for some of 10,000 waiters wakes these and no others" do
    for pool <- both(limit: 0, max_waiting: @many) do
      park_many(pool, 2)
      Pool.update(pool, limit: 2 * 7_000 + 1)
      assert answers(7_000) == %{:ok => 7_000}
      assert counts(pool) == {14_000, 7_000, 3_000}
      Pool.update(pool, limit: :infinity)
      assert answers(3_000) == %{:ok => 3_000}
      refute_received {:answer, _}
    end
  end

  test "a janitor that is killed at work is replaced, and all waiters are woken" do
    for pool <- both(limit: 0, max_waiting: @many) do
      park_many(pool, 1)

      without_janitor(fn ->
        Pool.update(pool, limit: @many)
        assert Pool.info(pool).waiting > 0
        kill_janitor()
      end)

      assert answers(@many) == %{:ok => @many}
      assert counts(pool) == {@many, @many, 0}
    end
  end

  test "a janitor that is killed ten times is replaced, and all waiters are woken" do
    pool = Pool.new(limit: 0, max_waiting: @many)
    park_many(pool, 1)
    Pool.update(pool, limit: @many)
    for _ <- 1..10, do: kill_janitor()
    assert answers(@many) == %{:ok => @many}
    assert counts(pool) == {@many, @many, 0}
  end

  test "a new janitor finds every pool that its predecessor left" do
    pools = for _ <- 1..10, do: Pool.new(limit: 0)
    for pool <- pools, do: park_many(pool, 1, 300)

    without_janitor(fn ->
      for pool <- pools, do: Pool.update(pool, limit: 300)
      kill_janitor()
    end)

    assert answers(3_000) == %{:ok => 3_000}
    for pool <- pools, do: assert(counts(pool) == {300, 300, 0})
  end

  test "while the janitor is away, a caller first serves the waiters ahead of it" do
    for {limit, answer} <- [{1_000, {:error, :full}}, {1_001, :ok}] do
      pool = Pool.new(limit: 0, max_waiting: @many)
      park_many(pool, 1, 1_000)

      without_janitor(fn ->
        Pool.update(pool, limit: limit)
        assert Pool.info(pool).waiting in 1..999
        assert Pool.try_acquire(pool) == answer
        assert counts(pool) == {limit, limit, 0}
        assert Pool.acquire(pool, timeout: 5) == {:error, :timeout}
      end)

      assert answers(1_000) == %{:ok => 1_000}
    end
  end

  test "a drain and a close answer 10,000 waiters" do
    name = start_pool(limit: 0, max_waiting: @many)
    park_many(name, 1)
    assert Pool.drain(name) == :ok
    assert answers(@many) == %{{:error, :closed} => @many}
    assert Pool.info(name).waiting == 0
    Pool.reopen(name)
    park_many(name, 1)
    stop_supervised!({Pool, name})
    assert answers(@many) == %{{:error, :closed} => @many}
  end

  test "a smaller limit refuses those of 10,000 waiters that ask for more" do
    for pool <- both(limit: 10, max_waiting: 2 * @many) do
      _holder = holder(pool, 10)
      park_many(pool, 5, div(@many, 2))
      park_many(pool, 1, div(@many, 2))
      Pool.update(pool, limit: 4)
      assert answers(div(@many, 2)) == %{{:error, :full} => div(@many, 2)}
      assert Pool.info(pool).waiting == div(@many, 2)
      refute_received {:answer, _}
    end
  end

  test "a limit that falls, and is then 0, refuses no request within the smaller limit" do
    pool = Pool.new(limit: 10, max_waiting: @many)
    _holder = holder(pool, 10)
    park_many(pool, 5, 300)
    {_, small} = park(pool, permits: 1)

    without_janitor(fn ->
      Pool.update(pool, limit: 3)
      Pool.update(pool, limit: 0)
    end)

    # At limit 0, which is a pause, the small request waits. The pool may have refused some of the
    # large requests already.
    assert %{in_use: 10, waiting: waiting} = Pool.info(pool)
    assert waiting >= 1
    Pool.update(pool, limit: 4)
    assert answers(300) == %{{:error, :full} => 300}
    Pool.update(pool, limit: 11)
    assert answer(small) == :ok
  end

  test "10,000 holders that die at once wake 10,000 waiters" do
    pool = Pool.new(limit: @many, max_waiting: @many)
    test = self()

    pids =
      for _ <- 1..@many do
        spawn(fn ->
          :ok = Pool.acquire(pool)
          send(test, :held)
          receive do: (:stop -> :ok)
        end)
      end

    for _ <- pids, do: assert_receive(:held)
    waiters = park_many(pool, 1)
    Enum.each(pids, &Process.exit(&1, :kill))
    assert answers(@many) == %{:ok => @many}
    assert counts(pool) == {@many, @many, 0}
    Enum.each(waiters, &Process.exit(&1, :kill))
    eventually(fn -> counts(pool) == {0, 0, 0} end)
    assert Pool.info(pool).released_by_exit == 2 * @many
  end

  describe "a pool without an owner" do
    setup do
      name = unique_name()
      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      Process.unlink(owner)
      :ok = Pool.acquire(name)
      {_, ref} = park(name)
      %{name: name, owner: owner, ref: ref}
    end

    test "is given 60 s to be adopted", %{name: name, owner: owner} do
      janitor = Process.whereis(Janitor)
      trace_timers(janitor)
      kill(owner)
      message = assert_timer(janitor, name, owner)
      assert counts(name) == {1, 1, 1}
      # The test sends the message of the janitor's timer early, so the janitor closes the pool.
      send(Janitor, message)
      eventually(fn -> name not in Penstock.Admission.Names.open() end)
    end

    test "closes after 60 s without an adoption", %{name: name, owner: owner, ref: ref} do
      kill(owner)
      send(Janitor, {:adoption_over, name, owner})
      assert answer(ref) == {:error, :closed}
      assert_raise ArgumentError, fn -> Pool.info(name) end
      {:ok, _} = Pool.start_link(name: name, limit: 1)
      assert counts(name) == {0, 0, 0}
    end

    test "that was adopted in time stays open", %{name: name, owner: owner} do
      kill(owner)
      {:ok, adopter} = Pool.start_link(name: name, limit: 1)
      send(Janitor, {:adoption_over, name, owner})
      _ = :sys.get_state(Janitor)
      assert %{owner: ^adopter, in_use: 1, waiting: 1, status: :open} = Pool.info(name)
    end

    test "is found by a new janitor", %{name: name, owner: owner, ref: ref} do
      # The owner dies while the janitor is suspended, and the janitor is killed. So only the next
      # janitor can notice the death.
      :ok = :sys.suspend(Janitor)
      kill(owner)
      before = Process.whereis(Janitor)
      trace_timers(:new)
      kill(before)
      eventually(fn -> Process.whereis(Janitor) not in [nil, before] end)
      janitor = Process.whereis(Janitor)
      send(janitor, assert_timer(janitor, name, owner))
      assert answer(ref) == {:error, :closed}
    end

    # A kill does not stop `rate_start`, because it runs on a dirty scheduler. So it can open the
    # gate for an owner that is dead by then.
    test "is given 60 s also if its owner was killed before the start" do
      name = unique_name()
      janitor = Process.whereis(Janitor)
      owner = spawn(fn -> receive do: (:stop -> :ok) end)
      :ok = Janitor.watch_owner(name, owner)
      trace_timers(janitor)
      kill(owner)
      message = assert_timer(janitor, name, owner)
      settings = %{limit: 1, per: 1_000, burst: 1, max_keys: 10, clock: :monotonic}
      assert Penstock.Native.rate_start(name, owner, settings) == :fresh
      assert {:allow, 0} = Penstock.RateLimiter.hit(name, :a)
      send(janitor, message)
      eventually(fn -> name not in Penstock.Admission.Names.open() end)
    end

    # `Process.send_after/3` calls one of these two, depending on the version of Elixir.
    @timers [{:erlang, :send_after, 3}, {:erlang, :send_after, 4}]

    defp trace_timers(pids) do
      :erlang.trace(pids, true, [:call])
      for function <- @timers, do: :erlang.trace_pattern(function, true, [])

      on_exit(fn ->
        for function <- @timers, do: :erlang.trace_pattern(function, false, [])
        :erlang.trace(:all, false, [:call])
      end)
    end

    defp assert_timer(janitor, name, owner) do
      message = {:adoption_over, name, owner}
      assert_receive {:trace, ^janitor, :call, {:erlang, :send_after, [60_000, ^janitor, ^message | _]}}
      message
    end
  end
end
