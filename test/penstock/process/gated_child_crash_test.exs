defmodule Penstock.Process.GatedChildCrashTest do
  # 1,000 children of one supervisor crash at once, on a full pool of 100,000 holders. Meanwhile
  # competitors, which are other callers, wait for permits. Not async: the tests measure for how
  # long the supervisor gives no answer.
  #
  # | pool                 | competitors | rules out                                |
  # |----------------------|-------------|------------------------------------------|
  # | with an overdraft    | 20          | a scan of all holders for each restart   |
  # | without an overdraft | none        | the same; a restart that finds no permit |
  use Penstock.PoolCase, async: false

  @holders 100_000
  @children 1_000
  @competitors 20

  defmodule Child do
    def start_link, do: :proc_lib.start_link(__MODULE__, :init, [self()])

    def init(parent) do
      :proc_lib.init_ack(parent, {:ok, self()})
      Process.hibernate(__MODULE__, :idle, [])
    end

    def idle, do: receive(do: (:never -> :ok))
  end

  for {name, overdraft} <- ["with an overdraft": :limit, "without an overdraft": 0] do
    @tag timeout: Penstock.PoolCase.patience(300_000)
    test "#{@children} crashed children at #{@holders} holders leave their supervisor able to answer (#{name})" do
      opts = if unquote(overdraft) == 0, do: [max_overdraft: 0], else: []
      pool = start_pool([limit: @holders, max_waiting: 100] ++ opts)
      parent = self()
      holders = spawn_link(fn -> hold(pool, @holders - @children, parent) end)
      for _ <- 1..(@holders - @children), do: receive(do: (:holds -> :ok))
      # The same crash without a gate shows for how long a supervisor of this machine gives no
      # answer anyway.
      {bare, longest_bare, []} = crash(& &1, fn -> [] end)

      # The competitors take the permits of dead children, so that restarts exceed the limit.
      # Without an overdraft such a restart would fail, so there are no competitors.
      callers = fn ->
        if unquote(overdraft) == 0, do: [], else: for(_ <- 1..@competitors, do: spawn_link(fn -> compete(pool) end))
      end

      {supervisor, longest, competitors} = crash(&Penstock.child_spec(&1, pool), callers)
      assert longest < 100_000 + 4 * longest_bare, "no answer for #{longest} µs; without a gate, #{longest_bare} µs"
      Process.flag(:trap_exit, true)
      DynamicSupervisor.stop(bare)

      for pid <- competitors, do: Process.unlink(pid)
      for pid <- competitors, do: kill(pid)
      # Waits until the competitors and the dead children have no permit any more.
      eventually(fn -> counts(pool) == {@holders, @holders, 0} end)
      assert Pool.info(pool).overdraft == 0
      DynamicSupervisor.stop(supervisor)
      eventually(fn -> Pool.info(pool).in_use == @holders - @children end)
      kill(holders)
    end
  end

  # Kills all children of a supervisor, and waits until all are back. Returns the supervisor, the
  # longest time for which it gave no answer, in µs, and the competitors that `callers` started.
  defp crash(wrap, callers) do
    {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000_000, max_seconds: 1)

    for n <- 1..@children do
      {:ok, _} = DynamicSupervisor.start_child(supervisor, wrap.(%{id: n, start: {Child, :start_link, []}}))
    end

    competitors = callers.()
    killed = children(supervisor)
    pinger = Task.async(fn -> ping(supervisor, 0) end)
    for pid <- killed, do: Process.exit(pid, :kill)

    eventually(fn ->
      now = children(supervisor)
      length(now) == @children and MapSet.disjoint?(MapSet.new(now), MapSet.new(killed))
    end)

    send(pinger.pid, :enough)
    {supervisor, Task.await(pinger, patience(60_000)), competitors}
  end

  defp children(supervisor) do
    for {_, pid, _, _} <- DynamicSupervisor.which_children(supervisor), is_pid(pid), do: pid
  end

  # Starts `count` holders, which are linked to the caller and end with it.
  defp hold(pool, count, parent) do
    for _ <- 1..count do
      spawn_link(fn ->
        :ok = Pool.try_acquire(pool)
        send(parent, :holds)
        Process.hibernate(Child, :idle, [])
      end)
    end

    Child.idle()
  end

  # Holds each permit for 2 ms, so that the competitors take permits, but little processor time.
  defp compete(pool) do
    :ok = Pool.acquire(pool, timeout: :infinity)
    receive after: (2 -> :ok)
    :ok = Pool.release(pool)
    compete(pool)
  end

  # Asks the supervisor until `:enough` comes. Returns the longest time without an answer, in µs.
  defp ping(supervisor, longest) do
    began = System.monotonic_time(:microsecond)
    _counts = DynamicSupervisor.count_children(supervisor)
    longest = max(longest, System.monotonic_time(:microsecond) - began)

    receive do
      :enough -> longest
    after
      1 -> ping(supervisor, longest)
    end
  end
end
