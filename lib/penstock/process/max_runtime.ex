defmodule Penstock.Process.MaxRuntime do
  # Sets and ends the deadline of work with a `:max_runtime`. Runs in the working process. Only
  # `give/4` runs in the process that started the working process. The native side keeps the
  # deadline, and the reaper kills a process that is past its deadline.
  @moduledoc false

  alias Penstock.Native

  @typedoc "A time in ms, or nil for no bound."
  @type max_runtime :: pos_integer | nil

  # Calls `fun` under a deadline.
  @spec run(Native.gate(), Native.offer(), max_runtime, Penstock.work(value)) :: value when value: var
  def run(_gate, _offer, nil, fun), do: fun.()

  def run(gate, offer, max_runtime, fun) do
    start(gate, offer, max_runtime)

    try do
      fun.()
    after
      finish(max_runtime)
    end
  end

  # Sets the deadline of the calling process, which has adopted the offer.
  @spec start(Native.gate(), Native.offer(), max_runtime) :: :ok
  def start(_gate, _offer, nil), do: :ok
  def start(gate, offer, max_runtime), do: :ok = Native.deadline_set(gate, offer, max_runtime)

  # Sets the deadline of a process that the caller has started. That process works until its
  # death, so it never calls `finish/1`.
  @spec give(Native.gate(), Native.instance() | Native.set(), pid, max_runtime) :: :ok
  def give(_gate, _instance, _pid, nil), do: :ok

  def give(gate, instance, pid, max_runtime) do
    # `:badarg` means that the gate is an unnamed pool that is gone. Then the process has no
    # deadline, because no pool is left to count the kill.
    _ok_or_badarg = Native.deadline_give(gate, instance, pid, max_runtime)
    :ok
  end

  # Ends the deadline of the calling process. Does not return if the native side has counted the
  # process as killed. In that case other processes must see the process killed, and must get no
  # result of its work.
  @spec finish(max_runtime) :: :ok
  def finish(nil), do: :ok

  def finish(_max_runtime) do
    # The process kills itself and does not wait for the reaper, because the reaper stops with the
    # application.
    if Native.deadline_end() == :overdue, do: Process.exit(self(), :kill)
    :ok
  end
end
