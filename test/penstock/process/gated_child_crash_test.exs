defmodule Penstock.Process.GatedChildCrashTest do
  # Many children of one supervisor crash at once, on a full pool of very many holders. Alone: it
  # measures.
  use Penstock.PoolCase, async: false

  @holders 100_000
  @children 1_000
  @hungry 20

  defmodule Child do
    def start_link, do: :proc_lib.start_link(__MODULE__, :init, [self()])

    def init(parent) do
      :proc_lib.init_ack(parent, {:ok, self()})
      Process.hibernate(__MODULE__, :idle, [])
    end

    def idle, do: receive(do: (:never -> :ok))
  end

  for {name, overdraft} <- ["with an overdraft": :limit, "without an overdraft": 0] do
    @tag timeout: 300_000
    test "#{@children} crashed children at #{@holders} holders leave their supervisor able to answer (#{name})" do
      opts = if unquote(overdraft) == 0, do: [max_overdraft: 0], else: []
      pool = start_pool([limit: @holders, max_waiting: 100] ++ opts)
      parent = self()
      crowd = spawn_link(fn -> crowd(pool, @holders - @children, parent) end)
      for _ <- 1..(@holders - @children), do: receive(do: (:holds -> :ok))
      # The same children of a supervisor without a gate, to know the time on this machine now.
      {bare, longest_bare, []} = crash(& &1, fn -> [] end)

      # Where they may take what the dead had, restarts need an overdraft.
      callers = fn ->
        if unquote(overdraft) == 0, do: [], else: for(_ <- 1..@hungry, do: spawn_link(fn -> hungry(pool) end))
      end

      {supervisor, longest, hungry} = crash(&Penstock.child_spec(&1, pool), callers)
      assert longest < 100_000 + 4 * longest_bare, "no answer for #{longest} µs; without a gate, #{longest_bare} µs"
      Process.flag(:trap_exit, true)
      DynamicSupervisor.stop(bare)

      for pid <- hungry, do: Process.unlink(pid)
      for pid <- hungry, do: kill(pid)
      # What the hungry had is back, and who died has nothing.
      eventually(fn -> counts(pool) == {@holders, @holders, 0} end)
      assert Pool.info(pool).overdraft == 0
      DynamicSupervisor.stop(supervisor)
      eventually(fn -> Pool.info(pool).in_use == @holders - @children end)
      kill(crowd)
    end
  end

  # A supervisor whose children have all been killed and are back, and the longest time that it
  # gave no answer, in µs.
  defp crash(wrap, callers) do
    {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000_000, max_seconds: 1)

    for n <- 1..@children do
      {:ok, _} = DynamicSupervisor.start_child(supervisor, wrap.(%{id: n, start: {Child, :start_link, []}}))
    end

    hungry = callers.()
    killed = children(supervisor)
    pinger = Task.async(fn -> ping(supervisor, 0) end)
    for pid <- killed, do: Process.exit(pid, :kill)

    eventually(fn ->
      now = children(supervisor)
      length(now) == @children and MapSet.disjoint?(MapSet.new(now), MapSet.new(killed))
    end)

    send(pinger.pid, :enough)
    {supervisor, Task.await(pinger, 60_000), hungry}
  end

  defp children(supervisor) do
    for {_, pid, _, _} <- DynamicSupervisor.which_children(supervisor), is_pid(pid), do: pid
  end

  # They end with the one that has made them.
  defp crowd(pool, count, parent) do
    for _ <- 1..count do
      spawn_link(fn ->
        :ok = Pool.try_acquire(pool)
        send(parent, :holds)
        Process.hibernate(Child, :idle, [])
      end)
    end

    Child.idle()
  end

  # It works for some ms, so that it takes permits and not processors.
  defp hungry(pool) do
    :ok = Pool.acquire(pool, timeout: :infinity)
    receive after: (2 -> :ok)
    :ok = Pool.release(pool)
    hungry(pool)
  end

  # The longest time without an answer, in µs.
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
