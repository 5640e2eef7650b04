defmodule Penstock.Stress.Kids do
  # The storms of keys and of gates share these supervisors and children. Some children stay until
  # the storm ends them. The storm keeps them in a table, and checks it.
  @moduledoc false

  @longest_life_ms 10

  # Starts supervisors of these names, whose children `gate` admits. Returns their supervisor.
  def start_supervisors(gate, %{tasks: tasks, children: children, plain: plain}) do
    endless = [max_restarts: 100_000_000]

    specs = [
      {Penstock.Task.Supervisor, [name: tasks, gate: gate] ++ endless},
      {Penstock.DynamicSupervisor, [name: children, gate: gate, partitions: 2] ++ endless},
      {DynamicSupervisor, [name: plain, strategy: :one_for_one] ++ endless}
    ]

    {:ok, top} = Supervisor.start_link(specs, [strategy: :one_for_one] ++ endless)
    top
  end

  # Starts a supervised child, which works and then crashes or ends. The child is a bare process,
  # because the VM reports no exit of such a process.
  def start_child(work) do
    ms = :rand.uniform(@longest_life_ms)

    pid =
      spawn_link(fn ->
        work.()
        receive after: (ms -> if(:rand.uniform(2) == 1, do: exit(:crashed)))
      end)

    {:ok, pid}
  end

  # Makes the calling child stay until it is told to end.
  def stay(kids) do
    :ets.insert(kids, {self()})
    receive do: (:end -> :ok)
  end

  # Ends one child that stays. Otherwise such children would soon hold all permits.
  def end_one(kids) do
    with pid when is_pid(pid) <- :ets.first(kids) do
      # The calling worker can be killed between these steps. In the other order, no process would
      # know the child any more, and the child would keep its permits.
      send(pid, :end)
      :ets.delete(kids, pid)
    end
  end
end
