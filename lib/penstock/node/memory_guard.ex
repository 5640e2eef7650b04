defmodule Penstock.Node.MemoryGuard do
  # Checks whether the machine and the control groups have enough free memory for a large table.
  # Runs in the process that starts a limiter, a keyed pool or a ban. A system that overcommits
  # grants memory that it lacks, and kills the VM later, when the VM uses the memory.
  @moduledoc false

  alias Penstock.VM.Memory

  # The size, in bytes, of the largest table that is started without a check of the memory.
  @unchecked 64 * 1_024 * 1_024

  # Returns `true` if a table of that size needs no check, or if the bytes are free in the machine
  # and in each control group of the VM. Returns `true` as well if the system reports no figure.
  @spec available?(non_neg_integer, Path.t()) :: boolean
  def available?(bytes, root \\ "/")
  def available?(bytes, _root) when bytes <= @unchecked, do: true

  def available?(bytes, root) do
    free = root |> Memory.find() |> Memory.free()
    free == nil or bytes <= free
  end
end
