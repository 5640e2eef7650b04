defmodule Penstock.Admission.Names do
  # The native side tells the names of open gates in pieces, so that no call is long however many
  # there are.
  @moduledoc false

  alias Penstock.Native

  # Returns the names of all gates that are open throughout the walk, in no order. A gate that
  # opens or closes meanwhile may be in it or not.
  @spec open() :: [atom]
  def open, do: open(0, [])

  defp open(:done, pieces), do: Enum.concat(pieces)

  defp open(position, pieces) do
    {next, names} = Native.gate_names(position)
    open(next, [names | pieces])
  end
end
