defmodule Penstock.Bench.Restart do
  @moduledoc false
  # B16: the time from the kill of a supervisor's children until the supervisor has restarted all
  # of them.

  alias Penstock.Bench.Row

  @children 10_000
  @patience_ms 60_000

  def rows do
    [
      %Row{
        id: "B16",
        work: "#{@children} children killed, until all are back",
        against: "DynamicSupervisor",
        baseline: fn -> children(&plain/2) end,
        ours: fn -> children(&gated/2) end,
        sampler: &sampler/2,
        processes: [nil],
        rounds: 5,
        unit: "ms",
        budget: {:ratio, 1.4}
      }
    ]
  end

  # Starts a supervisor with its children. The counter counts all starts, restarts included.
  defp children(start) do
    started = :counters.new(1, [])
    start.(started, @children)
  end

  defp spec(started), do: %{id: :child, start: {__MODULE__, :start_link, [started]}}

  @doc "Starts an Agent, as a typical child of an application, and counts the start."
  def start_link(started), do: Agent.start_link(fn -> :counters.add(started, 1, 1) end)

  @often [max_restarts: 1_000_000_000, max_seconds: 1]

  defp plain(started, n) do
    {:ok, sup} = DynamicSupervisor.start_link(@often)
    for _ <- 1..n, do: {:ok, _} = DynamicSupervisor.start_child(sup, spec(started))
    %{started: started, pids: fn -> pids(DynamicSupervisor.which_children(sup)) end}
  end

  defp gated(started, n) do
    {:ok, _} = Penstock.DynamicSupervisor.start_link([name: :b16, limit: 2 * @children] ++ @often)
    for _ <- 1..n, do: {:ok, _} = Penstock.DynamicSupervisor.start_child(:b16, spec(started))
    %{started: started, pids: fn -> pids(Penstock.DynamicSupervisor.which_children(:b16)) end}
  end

  defp pids(children), do: for({_, pid, _, _} when is_pid(pid) <- children, do: pid)

  # Turns crash reports off. Both sides have the same reports, which would take most of the time.
  defp sampler(side, _processes) do
    fn ->
      level = Logger.level()
      Logger.configure(level: :none)
      pids = side.pids.()
      back = :counters.get(side.started, 1) + length(pids)
      from = System.monotonic_time()
      Enum.each(pids, &Process.exit(&1, :kill))
      until(fn -> :counters.get(side.started, 1) == back end, @patience_ms)
      elapsed = System.monotonic_time() - from
      Logger.configure(level: level)
      System.convert_time_unit(elapsed, :native, :microsecond) / 1000
    end
  end

  defp until(_done?, 0), do: raise("the children were not back after #{@patience_ms} ms")

  defp until(done?, left) do
    unless done?.() do
      Process.sleep(1)
      until(done?, left - 1)
    end
  end
end
