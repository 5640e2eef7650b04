defmodule Penstock.Demo.Attack.ChildrenOfManyCallers do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Tally

  @supervisor __MODULE__.Supervisor
  @limit 1_000
  @overdraft 100
  @callers 50
  @calls 4_000
  @partitions 8

  @impl true
  def id, do: "e"

  @impl true
  def title, do: "children of #{@callers} callers"

  @impl true
  def story do
    "#{@callers} callers ask a supervisor with #{@partitions} partitions for 4,000 children " <>
      "each; half of the children crash at random and are restarted once. Unguarded by " <>
      "DynamicSupervisor.start_child/2; guarded by #{guard()}, which refuses a child above the " <>
      "limit at once, so that its caller may ask later. Done counts the children that start."
  end

  @impl true
  def look_at,
    do: "the processes and the pings: the supervisor with a limit never has more children than it can restart in time."

  @impl true
  def hurts, do: :ping

  @impl true
  def guard, do: "Penstock.DynamicSupervisor.start_child/3"

  @impl true
  def limit, do: @limit

  @impl true
  def overdraft, do: @overdraft

  # Half of the children crash, and the supervisor must not give up for that. At each crash it
  # walks all crashes of the last second: a single supervisor would spend most of the attack on
  # that.
  @intensity [max_restarts: 10_000_000, max_seconds: 1]

  @impl true
  def setup(:unguarded, tally) do
    children = DynamicSupervisor.child_spec(@intensity)
    {:ok, _pid} = PartitionSupervisor.start_link(name: @supervisor, child_spec: children, partitions: @partitions)
    callers(tally, &DynamicSupervisor.start_child({:via, PartitionSupervisor, {@supervisor, self()}}, &1))
  end

  def setup(:guarded, tally) do
    opts = [name: @supervisor, limit: @limit, max_overdraft: @overdraft, partitions: @partitions] ++ @intensity
    {:ok, _pid} = Penstock.DynamicSupervisor.start_link(opts)
    callers(tally, &Penstock.DynamicSupervisor.start_child(@supervisor, &1))
  end

  defp callers(tally, start) do
    # Supervisors report each crash, and wait until the report is printed. The attack would
    # measure the printing of a hundred thousand reports.
    :ok = :logger.set_primary_config(:level, :none)

    for seed <- 1..@callers do
      spawn_monitor(fn ->
        :rand.seed(:exsss, seed)
        receive do: (:go -> :ok)
        for _ <- 1..@calls, do: call(tally, start)
      end)
    end
  end

  @impl true
  def run(callers) do
    for {pid, _monitor} <- callers, do: send(pid, :go)
    for {_pid, monitor} <- callers, do: receive(do: ({:DOWN, ^monitor, :process, _, _reason} -> :ok))
    :ok
  end

  defp call(tally, start) do
    Tally.add(tally, :offered)
    args = [:atomics.new(1, []), :rand.uniform(2) == 1, :rand.uniform(400)]

    case start.(%{id: :child, start: {__MODULE__, :start_child, args}, restart: :transient}) do
      {:ok, _pid} -> Tally.add(tally, :done)
      {:error, :system_limit} -> Tally.add(tally, :system_limit)
      {:error, _refused} -> Tally.add(tally, :refused)
    end

    Tally.note_processes(tally)
  end

  @doc false
  def start_child(starts, crashes?, ms) do
    first? = :atomics.add_get(starts, 1, 1) == 1
    {:ok, spawn_link(fn -> live(crashes? and first?, ms) end)}
  end

  defp live(crash?, ms) do
    receive do
    after
      ms -> if crash?, do: exit(:crashed)
    end
  end
end
