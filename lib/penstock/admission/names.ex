defmodule Penstock.Admission.Names do
  # Reads the names of all open gates, for `Penstock.list/0`, the janitor and error messages. Runs
  # in the process that asks. The native side returns the names in pieces, so that each native
  # call is short.
  @moduledoc false

  alias Penstock.Native

  # Returns, in no order, the names of all gates that stay open during the call. A gate that opens
  # or closes meanwhile may be in the list or not.
  @spec open() :: [atom]
  def open, do: open(0, [])

  defp open(:done, pieces), do: Enum.concat(pieces)

  defp open(position, pieces) do
    {next, names} = Native.gate_names(position)
    open(next, [names | pieces])
  end
end
