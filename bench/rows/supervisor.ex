defmodule Penstock.Bench.Supervisors do
  @moduledoc false
  # B5: a child that a full supervisor refuses. B9: a child that a supervisor starts. In B9 each
  # child ends at once, so the figure includes the supervisor's work after the end of a child.

  alias Penstock.Bench.{Loop, Row}

  @max 100_000
  # The length of a sample of B9. A supervisor sleeps between samples. It takes some time until
  # the supervisor runs in parallel to its callers, and a short sample would end before that.
  @sample_ns 5_000_000
  @rounds 61

  def rows do
    [
      %Row{
        id: "B5",
        work: "start_child refused, 100 children",
        against: "DynamicSupervisor, 100 children",
        baseline: fn -> refused_plain(100) end,
        ours: fn -> refused_gated(100) end
      },
      %Row{
        id: "B9",
        sampler: &long/2,
        rounds: @rounds,
        work: "gated start_child of a task",
        against: "Task.Supervisor, max_children",
        baseline: &plain/0,
        ours: fn -> gated(:b9, 1) end,
        budget: {:ratio, 1.25}
      },
      %Row{
        id: "B9",
        sampler: &long/2,
        rounds: @rounds,
        work: "gated start_child, 2 partitions",
        against: "one Task.Supervisor, max_children",
        baseline: &plain/0,
        ours: fn -> gated(:b9_2, 2) end,
        budget: {:ratio, 0.7},
        processes: [2]
      },
      %Row{
        id: "B9",
        sampler: &long/2,
        rounds: @rounds,
        work: "gated start_child of an Agent, killed again",
        against: "DynamicSupervisor, max_children",
        baseline: &plain_agent/0,
        ours: &gated_agent/0
      }
    ]
  end

  defp long(fun, processes), do: Loop.sampler(fun, processes, @sample_ns)

  @forever %{id: :child, start: {Task, :start_link, [Process, :sleep, [:infinity]]}, restart: :temporary}

  defp refused_plain(max) do
    {:ok, sup} = DynamicSupervisor.start_link(max_children: max)
    for _ <- 1..max, do: {:ok, _} = DynamicSupervisor.start_child(sup, @forever)
    fn -> DynamicSupervisor.start_child(sup, @forever) end
  end

  defp refused_gated(limit) do
    {:ok, _} = Penstock.DynamicSupervisor.start_link(name: :b5_supervisor, limit: limit)
    for _ <- 1..limit, do: {:ok, _} = Penstock.DynamicSupervisor.start_child(:b5_supervisor, @forever)
    {:error, :full} = Penstock.DynamicSupervisor.start_child(:b5_supervisor, @forever)
    fn -> Penstock.DynamicSupervisor.start_child(:b5_supervisor, @forever) end
  end

  defp plain do
    {:ok, sup} = Task.Supervisor.start_link(max_children: @max)
    fn -> {:ok, _} = Task.Supervisor.start_child(sup, fn -> :ok end) end
  end

  defp gated(name, 1) do
    {:ok, _} = Penstock.Task.Supervisor.start_link(name: name, limit: @max)
    fn -> {:ok, _} = Penstock.Task.Supervisor.start_child(name, fn -> :ok end) end
  end

  # Each caller's key is the id of its scheduler, so that two callers use the two partitions. Two
  # random keys would name the same partition half of the time.
  defp gated(name, partitions) do
    {:ok, _} = Penstock.Task.Supervisor.start_link(name: name, limit: @max, partitions: partitions)

    fn ->
      key = :erlang.system_info(:scheduler_id)
      {:ok, _} = Penstock.Task.Supervisor.start_child(name, fn -> :ok end, partition_key: key)
    end
  end

  defp plain_agent do
    {:ok, sup} = DynamicSupervisor.start_link(max_children: @max)
    fn -> ended(DynamicSupervisor.start_child(sup, agent())) end
  end

  defp gated_agent do
    {:ok, _} = Penstock.DynamicSupervisor.start_link(name: :b9_agents, limit: @max)
    fn -> ended(Penstock.DynamicSupervisor.start_child(:b9_agents, agent())) end
  end

  defp agent, do: %{id: :agent, start: {Agent, :start_link, [fn -> 1 end]}, restart: :temporary}
  defp ended({:ok, pid}), do: Process.exit(pid, :kill)
end
