defmodule Penstock.Telemetry.Pressure do
  # Tells of a change of the VM's pressure. The sampler notices it, and must not wait for a handler. So
  # it sends a message to the reporter, which calls the handlers.
  @moduledoc false

  alias Penstock.Telemetry.{Baselines, Emit}
  alias Penstock.VM.Levels

  @typedoc "The pressure before and after the change, and the resources that cause the new one."
  @type change :: {Levels.level(), Levels.level(), [atom]}

  # Sends a change to the reporter, if the words of the levels have another pressure.
  @spec notice(Levels.word(), Levels.word(), module) :: :ok
  def notice(before, word, reporter) do
    {from, to} = {Levels.pressure(before), Levels.pressure(word)}

    with true <- from != to, pid when is_pid(pid) <- Process.whereis(reporter), 1 <- Baselines.room(:changes, 1) do
      send(pid, {:pressure, {from, to, Levels.because(word)}})
    end

    :ok
  end

  @spec tell(change) :: :ok
  def tell({from, to, because}) do
    metadata = %{from: Levels.name(from), to: Levels.name(to), because: because}
    Emit.event([:penstock, :vm, :pressure], %{count: 1, pressure: to}, metadata)
  end
end
