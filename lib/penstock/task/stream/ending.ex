defmodule Penstock.Task.Stream.Ending do
  # Ends a stream, in the consumer. On return no task runs, and no message of the stream is in the
  # mailbox or will come.
  @moduledoc false

  alias Penstock.Native

  @type tasks :: %{pid => {reference, non_neg_integer, term} | tuple}

  # Ends a stream whose stream monitor lives.
  #
  # Unlinks the stream monitor first and kills it last. In between, the stream monitor still
  # monitors the consumer, and ends all tasks if the consumer dies.
  @spec close(tasks, map) :: :ok
  def close(tasks, %{ref: ref, stream_monitor: stream_monitor, down_ref: down_ref} = config) do
    unlink(stream_monitor)
    end_tasks(tasks, config)
    Process.exit(stream_monitor, :kill)
    await_down(stream_monitor, down_ref)
    delete_table(config)
    flush(ref)
  end

  # Ends a stream whose stream monitor is dead and unlinked.
  @spec without_monitor(tasks, map) :: :ok
  def without_monitor(tasks, config) do
    end_tasks(tasks, config)
    delete_table(config)
    flush(config.ref)
  end

  # Unlinks the stream monitor. After that no EXIT of it comes, but one may have come before if
  # the consumer traps exits. Removes that EXIT, because the user's code does not know the stream
  # monitor.
  @spec unlink(pid) :: :ok
  def unlink(stream_monitor) do
    Process.unlink(stream_monitor)

    receive do
      {:EXIT, ^stream_monitor, _reason} -> :ok
    after
      0 -> :ok
    end
  end

  # Waits for the end of a process. User code may have received the `:DOWN` of `monitor` while the
  # reducer ran. So this sets a second monitor, and waits for the `:DOWN` of that one.
  defp await_down(pid, monitor) do
    second = Process.monitor(pid)
    Process.demonitor(monitor, [:flush])
    receive do: ({:DOWN, ^second, :process, _pid, _reason} -> :ok)
  end

  # Deletes the table of a stream that was suspended. Without the table, older continuations of
  # the stream find that it is over.
  defp delete_table(%{table: nil}), do: true
  defp delete_table(%{table: table}), do: :ets.delete(table)

  defp end_tasks(tasks, %{gate: gate}) do
    alive = for {pid, {monitor, _position, _element}} <- tasks, do: {pid, monitor}
    for {pid, _monitor} <- alive, do: Process.exit(pid, :kill)

    for {pid, monitor} <- alive do
      await_down(pid, monitor)
      Native.spawn_ended(gate, pid)
    end
  end

  defp flush(ref) do
    receive do
      {^ref, _pid, _value} -> flush(ref)
      {^ref, _pid, _about, _it} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
