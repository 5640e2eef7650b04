defmodule Penstock.Process.ChildStart do
  # Calls the start function of a process on behalf of the holder of its permits. The permits go
  # to the started process, or come back if there is none.
  #
  # If the starter is killed meanwhile, the permits come back by its death, and a process that
  # lives on is not counted.
  @moduledoc false

  alias Penstock.{Admission, Native}
  alias Penstock.Process.MaxRuntime

  @spec run(Admission.permits(), MaxRuntime.max_runtime(), Penstock.work(result)) :: result when result: term
  def run(permits, max_runtime, start) do
    start.()
  catch
    kind, reason ->
      give_back(permits)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result ->
      # A pool counts processes of its own node only.
      if pid = started_here(result), do: entrust(pid, permits, max_runtime), else: give_back(permits)
      result
  end

  # Starts without a permit, but with the `:max_runtime`.
  @spec run_unguarded(Native.gate(), MaxRuntime.max_runtime(), Penstock.work(result)) :: result when result: term
  def run_unguarded(gate, max_runtime, start) do
    result = start.()

    if pid = max_runtime && started_here(result), do: MaxRuntime.give(gate, last_instance(gate), pid, max_runtime)
    result
  end

  defp started_here({:ok, pid}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here({:ok, pid, _info}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here(_nothing), do: nil

  # Returns the instance of the pool that counts a kill: the running one, or the last one.
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
