defmodule Penstock.Stress.Exits do
  # Tells a failure of a call to a server that the storm has killed from any other failure.
  @moduledoc false

  # With these a server ends that the storm kills, or whose supervisor it kills or stops.
  @ends [:noproc, :killed, :shutdown]

  # Records a failure of a worker as a fault of the storm, unless it is of a server of these names, which
  # was killed during the call or has not started again. A worker is a bare process, of whose exit the VM
  # makes no report.
  def note(faults, kind, reason, names) do
    unless of_dead?(kind, reason, names), do: :ets.insert(faults, {make_ref(), {:failed, kind, reason}})
    :ok
  end

  defp of_dead?(:exit, :noproc, names), do: names != []
  defp of_dead?(:exit, {reason, {_module, _function, _args}}, names), do: names != [] and reason in @ends

  defp of_dead?(:error, %ArgumentError{message: message}, names),
    do: Enum.any?(names, &String.contains?(message, inspect(&1)))

  defp of_dead?(_kind, _reason, _names), do: false
end
