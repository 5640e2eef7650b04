defmodule Penstock.Process.ChildStart do
  # Calls the user's start function and gives the permits to the process that it starts. Runs in
  # the starter: the caller of `Penstock.start_process/3`, or the supervisor of a gated child. The
  # starter holds the permits meanwhile, and releases them if no process of this node is started.
  #
  # If the starter is killed during the start function, its death releases the permits. A process
  # that was started before the kill and survives it is not counted.
  @moduledoc false

  alias Penstock.{Admission, Native}
  alias Penstock.Process.MaxRuntime

  # Returns, raises, throws or exits as the start function does.
  @spec run(Admission.permits(), MaxRuntime.max_runtime(), Penstock.work(result)) :: result when result: term
  def run(permits, max_runtime, start) do
    start.()
  catch
    kind, reason ->
      give_back(permits)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result ->
      # The permits go back if the process is on another Erlang node: a pool counts processes of
      # its own node only.
      if pid = started_here(result), do: entrust(pid, permits, max_runtime), else: give_back(permits)
      result
  end

  # Starts a process without a permit, because its gate is closed or gone. A `:max_runtime` still
  # applies.
  @spec run_unguarded(Native.gate(), MaxRuntime.max_runtime(), Penstock.work(result)) :: result when result: term
  def run_unguarded(gate, max_runtime, start) do
    result = start.()

    if pid = max_runtime && started_here(result), do: MaxRuntime.give(gate, last_instance(gate), pid, max_runtime)
    result
  end

  defp started_here({:ok, pid}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here({:ok, pid, _info}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here(_nothing), do: nil

  # Returns the instance of the pool that counts a kill by `:max_runtime`: the present instance of
  # the gate, or the last one that the native side remembers. If it remembers none, returns the
  # number of the first instance, which the native side then takes for a closed pool.
  defp last_instance(gate) do
    case Native.pool_info(gate) do
      :no_pool -> if is_atom(gate), do: :ok, else: 0
      %{instance: instance} -> instance
    end
  end

  defp entrust(pid, {gate, instance, permits}, max_runtime) do
    with :ok <- Native.start_entrust(gate, instance, pid, permits),
         do: MaxRuntime.give(gate, instance, pid, max_runtime)
  end

  defp give_back({gate, instance, permits}), do: Native.run_end(gate, instance, permits)
end
