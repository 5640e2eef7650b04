defmodule Penstock.Node.Start do
  # Starts a process of the node for its supervisor.
  @moduledoc false

  # The ms that a failed start takes at least. The supervisor then tries again, and bears 1,000 tries
  # a second.
  @pause 20

  # Calls `start`. If the table of processes is full, waits before it returns the error: otherwise
  # the supervisor would use up its restarts at once, and the application would stop for good.
  @spec patiently(Penstock.work(GenServer.on_start())) :: GenServer.on_start()
  def patiently(start) do
    start.()
  rescue
    SystemLimitError ->
      receive after: (@pause -> {:error, :system_limit})
  end
end
