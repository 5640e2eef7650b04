# expects: PS001 high line 6
defmodule Simulation.World do
  @moduledoc "Runs a process for each creature of a scenario."

  def populate(%{creatures: creatures} = scenario) do
    pids = Enum.map(creatures, fn creature -> :proc_lib.spawn_link(__MODULE__, :live, [creature]) end)
    Map.put(scenario, :pids, pids)
  end

  def live(creature) do
    receive do
      {:feed, amount} -> live(%{creature | energy: creature.energy + amount})
      :stop -> :ok
    after
      1_000 -> if creature.energy > 0, do: live(%{creature | energy: creature.energy - 1}), else: :dead
    end
  end
end
