defmodule Penstock.Stress.Killer do
  # Draws a plan, and looks for a process in the state that the plan aims at. Kills that process a
  # random time later, and draws the next plan.
  @moduledoc false

  alias Penstock.Stress.{Plan, Tally, Worker}

  @workers 48
  # How often the killer looks for a victim before it draws another plan.
  @looks 60

  # Kills until it has killed `kills` living processes.
  def storm(shared, keeper, kills) do
    trace(keeper)
    workers = for slot <- 1..@workers, do: enlist(shared, slot, :rand.uniform(1_000_000_000))
    # No worker begins before all exist, because each transfers permits to random others.
    for {pid, _me} <- workers, do: send(pid, :go)
    slots = for {{pid, me}, slot} <- Enum.with_index(workers, 1), into: %{}, do: {pid, {slot, me}}
    storm(%{shared: shared, keeper: keeper, workers: List.to_tuple(workers), slots: slots}, kills)
  end

  defp storm(_killer, kills) when kills <= 0, do: :ok

  defp storm(killer, kills) do
    plan = Plan.draw(@workers)
    pause(plan.lull)
    {killed, killer} = aim(plan, killer)
    storm(killer, kills - killed)
  end

  defp aim(%{aim: aim, newborn?: false} = plan, killer), do: aim(aim, plan, killer, @looks)

  defp aim(%{aim: aim} = plan, killer) do
    with {0, killer} <- aim(:child, plan, killer, 1), do: aim(aim, plan, killer, @looks)
  end

  defp pause(0), do: :ok
  defp pause(n), do: pause(n - 1)

  # Looks at most `looks` times for a victim in the state `aim`, and kills it. Returns the number
  # of kills, and the killer with new workers in the place of the dead.
  defp aim(_aim, _plan, killer, 0), do: {0, killer}

  defp aim(:owner, plan, killer, _looks) do
    flush()
    {kill_owner(Penstock.Native.gate_owner(killer.shared.pool), plan, killer, plan.successor?), killer}
  end

  defp aim(:grown, plan, %{shared: %{kids: kids, tally: tally}} = killer, looks) do
    case :ets.first(kids) do
      :"$end_of_table" ->
        pause(100)
        aim(:grown, plan, killer, looks - 1)

      pid ->
        pause(plan.pause)
        victim = child(kids, pid, :grown)
        :ets.delete(kids, pid)
        {kill(tally, victim, pid, plan), killer}
    end
  end

  defp aim(:child, plan, killer, looks) do
    receive do
      {:trace, spawner, :spawn, pid, {Penstock.Process.Child, _, _}} ->
        {slot, me} = killer.slots[spawner]

        if Worker.at?(me, :spawner) and Process.alive?(pid) do
          pause(rem(plan.pause, 256))
          kill_in_handoff(plan, killer, {slot, me}, pid)
        else
          aim(:child, plan, killer, looks)
        end

      _other_trace ->
        aim(:child, plan, killer, looks)
    after
      0 ->
        pause(100)
        aim(:child, plan, killer, looks - 1)
    end
  end

  defp aim(state, plan, killer, looks) do
    case find(killer.workers, state, plan.slot, @workers) do
      nil ->
        pause(100)
        aim(state, plan, killer, looks - 1)

      slot ->
        pause(plan.pause)

        # The victim may be dead already, killed by its own child.
        with {0, killer} <- kill_worker(plan, killer, slot), do: aim(state, plan, killer, looks - 1)
    end
  end

  # Kills one side of a handoff, the spawner or the child. If an earlier kill has ended the
  # spawner, its successor has the slot. Then this kills the successor.
  defp kill_in_handoff(%{spawner?: true} = plan, killer, {slot, _me}, _pid), do: kill_worker(plan, killer, slot)

  defp kill_in_handoff(plan, %{shared: %{kids: kids, tally: tally}} = killer, {_slot, me}, pid) do
    unlisted = if Worker.at?(me, :spawner), do: :child, else: :grown
    {kill(tally, child(kids, pid, unlisted), pid, plan), killer}
  end

  # Returns the state of a child, or `unlisted` if the child is not in the table. A child is not
  # in the table before it begins, and when it is about to end.
  defp child(kids, pid, unlisted) do
    case :ets.lookup(kids, pid) do
      [{_pid, _permits, me, mark}] -> Worker.child(me, mark)
      [] -> unlisted
    end
  end

  defp find(_workers, _state, _slot, 0), do: nil

  defp find(workers, state, slot, left) do
    {_pid, me} = elem(workers, slot - 1)
    if Worker.at?(me, state), do: slot, else: find(workers, state, rem(slot, @workers) + 1, left - 1)
  end

  defp kill(tally, victim, pid, plan) do
    killed? = Tally.kill(tally, victim, pid)

    if plan.await? do
      monitor = Process.monitor(pid)
      receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
    end

    if killed?, do: 1, else: 0
  end

  defp kill_worker(plan, killer, slot) do
    {pid, me} = elem(killer.workers, slot - 1)
    killed = kill(killer.shared.tally, Worker.state(me), pid, plan)
    {pid, me} = worker = enlist(killer.shared, slot, plan.seed)
    send(pid, :go)

    {killed,
     %{killer | workers: put_elem(killer.workers, slot - 1, worker), slots: Map.put(killer.slots, pid, {slot, me})}}
  end

  defp enlist(shared, slot, seed) do
    {pid, me} = worker = Worker.start(shared, {seed, slot, 1})
    trace(pid)
    :ets.insert(shared.peers, {slot, pid, me})
    worker
  end

  # Traces a process. The killer gets a message at once each time that this process spawns a
  # child.
  defp trace(pid), do: :erlang.trace(pid, true, [:procs])

  # Kills the pool's owner, for which the keeper starts a successor. If `successor?`, also kills
  # the successor during its start.
  defp kill_owner(pid, plan, %{keeper: keeper} = killer, successor?) do
    pause(plan.pause)
    killed = kill(killer.shared.tally, :owner, pid, plan)

    if killed == 1 and successor? do
      receive do: ({:trace, ^keeper, :spawn, successor, _} -> 1 + kill_owner(successor, plan, killer, false))
    else
      killed
    end
  end

  defp flush do
    receive do
      message when elem(message, 0) == :trace -> flush()
    after
      0 -> :ok
    end
  end
end
