defmodule Penstock.Stress.CrashStorm do
  # Starts a thousand transient children, and kills random ones for `seconds`. Their pool is
  # always full, and other processes wait for its permits. After each burst of kills, the number
  # of permits in use must be the number of living children.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.Survivors

  @children 1_000
  @burst_ms 500

  def run(seconds) do
    {:ok, _} =
      Penstock.DynamicSupervisor.start_link(
        name: __MODULE__,
        limit: @children,
        max_restarts: 100_000_000,
        partitions: 2
      )

    :rand.seed(:exsss, {1, 2, 3})
    for n <- 1..@children, do: {:ok, _} = Penstock.DynamicSupervisor.start_child(__MODULE__, child(), partition_key: n)
    waiters = for _ <- 1..10, do: spawn_link(fn -> wait() end)
    result = storm(now() + seconds * 1_000, 0)

    for pid <- waiters do
      Process.unlink(pid)
      Process.exit(pid, :kill)
    end

    Penstock.DynamicSupervisor.stop(__MODULE__)
    result
  end

  defp storm(until, crashes) do
    crashes = burst(now() + @burst_ms, crashes)

    with :ok <- Survivors.until(&exact/0) do
      if now() < until, do: storm(until, crashes), else: {:ok, crashes}
    end
  end

  defp burst(until, crashes) do
    crashes =
      Enum.reduce(Enum.take_random(children(), 100), crashes, fn pid, n -> Process.exit(pid, :kill) && n + 1 end)

    if now() < until, do: burst(until, crashes), else: crashes
  end

  # Compares the counts once. A waiter may get the permit of a dead child, and hold it for an
  # instant. So the counts agree only at some instants, and the caller polls.
  defp exact do
    live = Enum.count(children(), &Process.alive?/1)
    info = Pool.info(__MODULE__)
    if live == @children and info.in_use == live, do: :ok, else: {:error, {:live, live, :in_use, info.in_use}}
  end

  defp children, do: for({_, pid, _, _} <- Penstock.DynamicSupervisor.which_children(__MODULE__), is_pid(pid), do: pid)

  defp child, do: %{id: :child, start: {Task, :start_link, [Process, :sleep, [:infinity]]}, restart: :transient}

  defp wait do
    with {:ok, _} <- Penstock.run(__MODULE__, fn -> :ok end, timeout: 100), do: :ok
    wait()
  end

  defp now, do: System.monotonic_time(:millisecond)
end
