defmodule Penstock.Stress.Ends do
  # Ends the workers of a round.
  @moduledoc false

  # Kills the processes, and waits for their ends. A process that another scheduler still runs goes on
  # for a moment after its kill. Meanwhile it could start a child with a table of a round that is over.
  @spec kill_all([pid]) :: :ok
  def kill_all(pids) do
    for pid <- pids, do: Process.exit(pid, :kill)

    for pid <- pids do
      monitor = Process.monitor(pid)
      receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
    end

    :ok
  end
end
