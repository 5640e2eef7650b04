defmodule Penstock.Start do
  # The start function of a process, called by whoever holds the permits for it: they become the process' if there is one,
  # and come back if not.
  #
  # Whoever starts it may be killed meanwhile. Then the permits come back as it dies, and the process, if it lives on, is
  # not counted.
  @moduledoc false

  alias Penstock.{Deadline, Native}

  @typedoc "Where the permits are: the gate, which of its pools, and how many."
  @type permits :: {Native.gate(), Native.instance(), pos_integer}

  @doc false
  @spec run(permits, Deadline.max_runtime(), (-> result)) :: result when result: term
  def run(permits, max_runtime, start) do
    start.()
  catch
    kind, reason ->
      give_back(permits)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result ->
      started(result, permits, max_runtime)
      result
  end

  defp started({:ok, pid}, permits, max_runtime) when is_pid(pid), do: entrust(pid, permits, max_runtime)
  defp started({:ok, pid, _info}, permits, max_runtime) when is_pid(pid), do: entrust(pid, permits, max_runtime)
  defp started(_nothing, permits, _max_runtime), do: give_back(permits)

  # A process of another node is nothing that this one can count.
  defp entrust(pid, permits, _max_runtime) when node(pid) != node(), do: give_back(permits)

  defp entrust(pid, {gate, instance, permits}, max_runtime) do
    with :ok <- Native.start_entrust(gate, instance, pid, permits), do: Deadline.give(gate, instance, pid, max_runtime)
  end

  defp give_back({gate, instance, permits}), do: Native.run_end(gate, instance, permits)
end
