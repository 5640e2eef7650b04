defmodule Penstock.Telemetry.Kills do
  # Tells of each process that is killed past its `:max_runtime`. The reaper kills it, and must not wait
  # for a handler. So it sends a message to the reporter, which calls the handlers.
  #
  # The reaper does not ask whether there is a handler: to count and send takes less time. If it is
  # killed itself, the next reaper may send the same process again.
  @moduledoc false

  alias Penstock.Telemetry.{Baselines, Emit}

  # Sends those of the processes that there is room for.
  @spec notice([pid, ...], module) :: :ok
  def notice(killed, reporter) do
    with pid when is_pid(pid) <- Process.whereis(reporter),
         [_ | _] = some <- Enum.take(killed, Baselines.room(:kills, length(killed))) do
      send(pid, {:killed, some})
    end

    :ok
  end

  @spec tell([pid, ...]) :: :ok
  def tell(killed), do: Enum.each(killed, &Emit.event([:penstock, :work, :kill], %{count: 1}, %{pid: &1}))
end
