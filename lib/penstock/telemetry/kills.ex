defmodule Penstock.Telemetry.Kills do
  # Tells of each process that is killed past its `:max_runtime`. The reaper kills it, and must not wait
  # for a handler. So it sends a message to the reporter, which calls the handlers.
  #
  # The reaper does not ask whether there is a handler: to count and send takes less time. If it is
  # killed itself, the next reaper may send the same process again.
  @moduledoc false

  alias Penstock.Telemetry.{Baselines, Emit}

  # The most processes that the reaper sends between two flushes of the reporter. A handler that hangs
  # must not fill the reporter's mailbox.
  @most 100

  # Sends those of the processes that there is room for.
  @spec notice([pid, ...], module) :: :ok
  def notice(killed, reporter) do
    with pid when is_pid(pid) <- Process.whereis(reporter),
         [_ | _] = some <- Enum.take(killed, room(length(killed))) do
      send(pid, {:killed, some})
    end

    :ok
  end

  # Returns for how many of `n` more processes there is room.
  defp room(n) do
    max(n + min(@most - Baselines.count_sent(:kills, n), 0), 0)
  rescue
    # The application is not running.
    ArgumentError -> 0
  end

  @spec tell([pid, ...]) :: :ok
  def tell(killed), do: Enum.each(killed, &Emit.event([:penstock, :work, :kill], %{count: 1}, %{pid: &1}))
end
