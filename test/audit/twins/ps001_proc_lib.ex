# expects: nothing
defmodule Simulation.World do
  @moduledoc "Runs a process for each quarter of the map."

  def populate(scenario) do
    pids =
      Enum.map([:north, :east, :south, :west], fn side -> :proc_lib.spawn_link(__MODULE__, :live, [side, scenario]) end)

    Map.put(scenario, :pids, pids)
  end

  def live(side, scenario) do
    receive do
      {:step, from} ->
        send(from, {:stepped, side})
        live(side, scenario)

      :stop ->
        :ok
    end
  end
end
