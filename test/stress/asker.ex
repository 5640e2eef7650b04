defmodule Penstock.Stress.Asker do
  # A caller that asks for a permit after the :DOWN or EXIT of a killed holder must get that
  # holder's permit. Tries this `asks` times, and counts the refusals.
  @moduledoc false

  alias Penstock.Pool

  def run(:try_1, asks), do: run(1, asks, &try_acquire/1, 0)
  def run(:try_8, asks), do: run(8, asks, &try_acquire/1, 0)
  def run(:acquire_100, asks), do: run(100, asks, &acquire/1, 8)

  defp try_acquire(pool), do: Pool.try_acquire(pool)
  defp acquire(pool), do: Pool.acquire(pool, timeout: 10_000)

  defp run(limit, asks, ask, flood) do
    Process.flag(:trap_exit, true)
    pool = Pool.new(limit: limit)
    spy = spawn_link(&spy/0)
    others = for _ <- 2..limit//1, do: holder(pool, nil)
    askers = for _ <- 1..flood//1, do: spawn_link(fn -> ask_without_end(pool) end)

    failed = Enum.count(1..asks, fn n -> once(pool, n, ask, flood == 0, spy) != :ok end)

    for pid <- [spy | others ++ askers] do
      Process.exit(pid, :kill)
      receive do: ({:EXIT, ^pid, _} -> :ok)
    end

    if failed == 0, do: {:ok, asks}, else: {:error, {failed, :refused, :of, asks}}
  end

  defp once(pool, n, ask, alone?, spy) do
    victim = holder(pool, if(rem(n, 3) == 0, do: spy))
    # In some tries the caller learns of the death by a link, in others by a monitor. In some
    # tries the caller asks without a pause until it learns of the death, in others only
    # afterwards.
    monitor = if rem(n, 2) == 0, do: Process.monitor(victim)
    Process.exit(victim, :kill)
    if alone? and rem(n, 5) < 2, do: ask_until_dead(pool, victim, monitor), else: await(victim, monitor)

    result = ask.(pool)
    if result == :ok, do: Pool.release(pool)
    if monitor, do: receive(do: ({:EXIT, ^victim, _} -> :ok))
    result
  end

  defp await(victim, nil), do: receive(do: ({:EXIT, ^victim, _} -> :ok))
  defp await(_victim, monitor), do: receive(do: ({:DOWN, ^monitor, _, _, _} -> :ok))

  # Asks until the caller sees the death of the victim. A busy caller sees it early, while the VM
  # still fires the victim's other monitors.
  defp ask_until_dead(pool, victim, monitor) do
    receive do
      {:DOWN, ^monitor, _, _, _} -> :ok
      {:EXIT, ^victim, _} when monitor == nil -> :ok
    after
      0 ->
        if Pool.try_acquire(pool) == :ok, do: Pool.release(pool)
        ask_until_dead(pool, victim, monitor)
    end
  end

  # Starts a holder. The spy, if there is one, monitors the holder before the pool does. So the
  # spy's monitors fire first, and delay the pool's monitor.
  defp holder(pool, spy) do
    parent = self()

    pid =
      spawn_link(fn ->
        receive do: (:go -> :ok)
        :ok = Pool.acquire(pool, timeout: :infinity)
        send(parent, {:holds, self()})
        Process.sleep(:infinity)
      end)

    if spy do
      send(spy, {:monitor, pid, self()})
      receive do: ({:monitored, ^pid} -> :ok)
    end

    send(pid, :go)
    receive do: ({:holds, ^pid} -> :ok)
    pid
  end

  defp spy do
    receive do
      {:monitor, pid, from} ->
        for _ <- 1..20, do: Process.monitor(pid)
        send(from, {:monitored, pid})

      {:DOWN, _, _, _, _} ->
        :ok
    end

    spy()
  end

  defp ask_without_end(pool) do
    if Pool.try_acquire(pool) == :ok, do: Pool.release(pool)
    # Gives the scheduler to other processes early, so that the caller of `run/2` gets its turn.
    :erlang.bump_reductions(400)
    ask_without_end(pool)
  end
end
