defmodule Penstock.Process.MaxRuntime do
  # Bounds how long work may run. Work without a `:max_runtime` has no bound.
  @moduledoc false

  alias Penstock.Native

  @typedoc "A time in ms, or nil for no bound."
  @type max_runtime :: pos_integer | nil

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

  @spec start(Native.gate(), Native.offer(), max_runtime) :: :ok
  def start(_gate, _offer, nil), do: :ok
  def start(gate, offer, max_runtime), do: :ok = Native.deadline_set(gate, offer, max_runtime)

  # Bounds a process that the caller has started. Its work ends with its death.
  @spec give(Native.gate(), Native.instance(), pid, max_runtime) :: :ok
  def give(_gate, _instance, _pid, nil), do: :ok

  def give(gate, instance, pid, max_runtime) do
    # `:badarg`: the handle of the unnamed pool is gone, so no pool counts a kill.
    _ok_or_badarg = Native.deadline_give(gate, instance, pid, max_runtime)
    :ok
  end

  # Does not return if the time has run out: work that is counted as killed must be seen to be
  # killed, and gives no result.
  @spec finish(max_runtime) :: :ok
  def finish(nil), do: :ok

  def finish(_max_runtime) do
    # The process kills itself, because the reaper may be gone with the application.
    if Native.deadline_end() == :overdue, do: Process.exit(self(), :kill)
    :ok
  end
end
