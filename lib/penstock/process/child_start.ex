defmodule Penstock.Process.ChildStart do
  # Calls the user's start function, and gives the permits to the started process. Runs in the
  # starter: the caller of `Penstock.start_process/3`, or the supervisor of a gated child. The
  # starter holds the permits during the start function. It releases them if the start function
  # starts no process of this node.
  #
  # If the starter is killed during the start function, its death releases the permits. A process
  # that the start function has started by then may live on. The pool does not count that process.
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
      # The permits also go back if the process is on another Erlang node, because a pool counts
      # only processes of its own node.
      if pid = started_here(result), do: entrust(pid, permits, max_runtime), else: give_back(permits)
      result
  end

  # Starts a process without a permit, because the gate is closed or gone. A `:max_runtime` still
  # applies, except if the gate is an unnamed pool that is gone.
  @spec run_unguarded(Native.gate(), MaxRuntime.max_runtime(), Penstock.work(result)) :: result when result: term
  def run_unguarded(gate, max_runtime, start) do
    result = start.()

    if pid = max_runtime && started_here(result), do: MaxRuntime.give(gate, last_instance(gate), pid, max_runtime)
    result
  end

  defp started_here({:ok, pid}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here({:ok, pid, _info}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here(_nothing), do: nil

  # Returns the instance of the pool that counts a kill by `:max_runtime`. This is the present
  # instance of the gate, or the last one that the native side remembers. If the native side
  # remembers none, this is the first instance, which the native side then treats as closed.
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
