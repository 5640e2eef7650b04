defmodule Penstock.Process.ChildStart do
  # The start function of a process, called by whoever holds the permits for it: they become the process' if there is one,
  # and come back if not.
  #
  # Whoever starts it may be killed meanwhile. Then the permits come back as it dies, and the process, if it lives on, is
  # not counted.
  @moduledoc false

  alias Penstock.{Admission, Native}
  alias Penstock.Process.MaxRuntime

  @spec run(Admission.permits(), MaxRuntime.max_runtime(), (-> result)) :: result when result: term
  def run(permits, max_runtime, start) do
    start.()
  catch
    kind, reason ->
      give_back(permits)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result ->
      # A process of another node is nothing that this one can count.
      if pid = started_here(result), do: entrust(pid, permits, max_runtime), else: give_back(permits)
      result
  end

  # Without a permit, but for no longer.
  @spec run_unguarded(Native.gate(), MaxRuntime.max_runtime(), (-> result)) :: result when result: term
  def run_unguarded(gate, max_runtime, start) do
    result = start.()

    if pid = max_runtime && started_here(result), do: MaxRuntime.give(gate, last_instance(gate), pid, max_runtime)
    result
  end

  defp started_here({:ok, pid}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here({:ok, pid, _info}) when is_pid(pid) and node(pid) == node(), do: pid
  defp started_here(_nothing), do: nil

  # The pool that counts it, if that was killed: the one that there is, or was.
  defp last_instance(gate) do
    case Native.pool_info(gate) do
      :no_pool -> if is_atom(gate), do: :ok, else: 0
      info -> elem(info, 0)
    end
  end

  defp entrust(pid, {gate, instance, permits}, max_runtime) do
    with :ok <- Native.start_entrust(gate, instance, pid, permits),
         do: MaxRuntime.give(gate, instance, pid, max_runtime)
  end

  defp give_back({gate, instance, permits}), do: Native.run_end(gate, instance, permits)
end
