defmodule Penstock.Process.MaxRuntime do
  # Work that may run for so long, or for ever if there is no such number.
  @moduledoc false

  alias Penstock.Native

  @typedoc "ms, or nil for no limit."
  @type max_runtime :: pos_integer | nil

  @spec run(Native.gate(), Native.offer(), max_runtime, (-> value)) :: value when value: var
  def run(_gate, _offer, nil, fun), do: fun.()

  def run(gate, offer, max_runtime, fun) do
    start(gate, offer, max_runtime)

    try do
      fun.()
    after
      finish(max_runtime)
    end
  end

  @spec start(Native.gate(), Native.offer(), max_runtime) :: :ok
  def start(_gate, _offer, nil), do: :ok
  def start(gate, offer, max_runtime), do: :ok = Native.deadline_set(gate, offer, max_runtime)

  # For a process that the caller has started, which never says that its work has ended: that is when it dies.
  @spec give(Native.gate(), Native.instance(), pid, max_runtime) :: :ok
  def give(_gate, _instance, _pid, nil), do: :ok

  def give(gate, instance, pid, max_runtime) do
    # Of an unnamed pool whose handle is gone, nothing is to be counted.
    _ok_or_badarg = Native.deadline_give(gate, instance, pid, max_runtime)
    :ok
  end

  # Does not return if the time ran out before: what is counted as killed is seen to be killed, and says nothing any more.
  @spec finish(max_runtime) :: :ok
  def finish(nil), do: :ok

  def finish(_max_runtime) do
    # Not by waiting for the reaper: that may be gone, with the application.
    if Native.deadline_end() == :overdue, do: Process.exit(self(), :kill)
    :ok
  end
end
