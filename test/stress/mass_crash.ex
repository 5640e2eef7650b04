defmodule Penstock.Stress.MassCrash do
  # Kills all children of a full pool at once, again and again, while a hundred callers want its
  # permits. Restarts must exceed the limit by at most `:max_overdraft`, which is the limit by
  # default. Afterwards the overdraft must be paid back.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.Survivors

  @limit 100
  @hungry 100

  def run(rounds) do
    {:ok, supervisor} = Penstock.DynamicSupervisor.start_link(name: __MODULE__, limit: @limit, max_restarts: 10_000_000)
    hungry = for _ <- 1..@hungry, do: spawn_link(&hungry/0)
    # The processes that hungry callers spawn hold their permits only for an instant. So each
    # child gets a permit in the end.
    for _ <- 1..@limit, do: {:ok, _} = Penstock.DynamicSupervisor.start_child(__MODULE__, child(), timeout: :infinity)
    result = rounds(rounds)
    # Stops the hungry callers before the pool, because a caller crashes when its gate is gone.
    for pid <- hungry, do: stop(pid)
    Penstock.DynamicSupervisor.stop(__MODULE__)
    if Process.alive?(supervisor), do: {:error, :not_stopped}, else: result
  end

  defp rounds(0), do: {:ok, @limit}

  defp rounds(round) do
    children = children()
    for pid <- children, do: Process.exit(pid, :kill)

    with :ok <- Survivors.until(fn -> restarted(children) end),
         peak = Pool.info(__MODULE__).peak,
         :ok <- Survivors.until(&within_limit/0) do
      IO.puts("  #{round} rounds to go: at most #{peak} at once")
      if peak > 2 * @limit, do: {:error, {:peak, peak}}, else: rounds(round - 1)
    end
  end

  defp restarted(old) do
    new = children()
    if length(new) == @limit and new -- old == new, do: :ok, else: {:error, {:restarted, length(new)}}
  end

  defp within_limit do
    in_use = Pool.info(__MODULE__).in_use
    if in_use <= @limit, do: :ok, else: {:error, {:in_use, in_use}}
  end

  defp children, do: for({_, pid, _, _} <- Penstock.DynamicSupervisor.which_children(__MODULE__), is_pid(pid), do: pid)

  defp child, do: %{id: :child, start: {Agent, :start_link, [fn -> 1 end]}}

  defp hungry do
    _ = Penstock.spawn(__MODULE__, fn -> :erlang.yield() end)
    hungry()
  end

  defp stop(pid) do
    Process.unlink(pid)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end
end
