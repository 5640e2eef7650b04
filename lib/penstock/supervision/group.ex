defmodule Penstock.Supervision.Group do
  # What callers must know of one of Penstock's supervisors: its name, the gate that its children
  # pass, and the supervisors of Elixir's that its children are under, the partitions.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.Native

  # kind       - Penstock's module that the name belongs to
  # pid        - the front, which has the name; nil before it is started
  # ref        - what the native side knows the gate by
  # partitions - the names of the supervisors, in a tuple
  @enforce_keys [:kind, :name, :gate, :ref, :partitions]
  defstruct [:kind, :name, :pid, :gate, :ref, :partitions]

  @type t :: %__MODULE__{
          kind: module,
          name: atom,
          pid: pid | nil,
          gate: Resolver.gate(),
          ref: Native.gate(),
          partitions: tuple
        }

  # Returns the names of the partitions.
  @spec partitions(t) :: [atom]
  def partitions(%{partitions: all}), do: Tuple.to_list(all)
end
