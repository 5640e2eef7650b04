defmodule Penstock.Demo.Attack.ChildrenOfManyCallers do
  @moduledoc false

  @behaviour Penstock.Demo.Attack

  alias Penstock.Demo.Tally

  @supervisor __MODULE__.Supervisor
  @limit 1_000
  @overdraft 100
  @callers 50
  @calls 1_000
  @longest_life_ms 3_000
  @partitions 8

  @impl true
  def id, do: "e"

  @impl true
  def title, do: "children of #{@callers} callers"

  @impl true
  def story do
    "#{@callers} callers ask a supervisor with #{@partitions} partitions for 1,000 children " <>
      "each, which live up to #{div(@longest_life_ms, 1000)} s; half of them crash and are " <>
      "restarted once. Unguarded by " <>
      "DynamicSupervisor.start_child/2; guarded by #{guard()}, which refuses a child above the " <>
      "limit at once, so that its caller may ask later. Done counts the children that start."
  end

  @impl true
  def look_at do
    "the processes and the memory: without Penstock both grow with the calls, on a fast machine " <>
      "until the VM is full, so that starts and restarts fail; with it, both stay flat, and " <>
      "restarts find room."
  end

  @impl true
  def harm, do: :memory

  @impl true
  def guard, do: "Penstock.DynamicSupervisor.start_child/3"

  @impl true
  def limit, do: @limit

  @impl true
  def overdraft, do: @overdraft

  # Half of the children crash, and a supervisor must not give up because of that. At each crash
  # the supervisor walks through its list of all crashes of the last second. Partitions keep these
  # lists short. A single supervisor would spend most of the attack on its list.
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
    # Turns all reports off. Otherwise a supervisor reports each crash and waits until the report
    # is printed, and the attack would measure the printing.
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
    args = [:atomics.new(1, []), :rand.uniform(2) == 1, :rand.uniform(@longest_life_ms)]

    case start.(%{id: :child, start: {__MODULE__, :start_child, args}, restart: :transient}) do
      {:ok, _pid} -> Tally.add(tally, :done)
      # If a start function raises, the supervisor returns the error with the stack.
      {:error, {:system_limit, _stack}} -> Tally.add(tally, :system_limit)
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
