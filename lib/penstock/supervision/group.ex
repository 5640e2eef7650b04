defmodule Penstock.Supervision.Group do
  # Data about one Penstock supervisor, for callers that start children: its name, the gate of its
  # children, and its partitions. A partition is one of Elixir's supervisors; the children are
  # under it. `Penstock.Supervision.Partitions` makes a group, and the front adds its own pid.
  # Callers get the group from `Penstock.Supervision.Directory`.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.Native

  # kind       - Penstock.DynamicSupervisor or Penstock.Task.Supervisor
  # pid        - the front, which has the name; nil before it is started
  # gate       - the gate as the user gave it
  # ref        - the native reference of the gate
  # partitions - a tuple of the names of the partitions
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

  # Returns the names of the partitions as a list.
  @spec partitions(t) :: [atom]
  def partitions(%{partitions: all}), do: Tuple.to_list(all)
end
