defmodule Penstock.Node.MemoryGuard do
  # Checks whether the machine and the container have enough free memory for a large table. Runs
  # in the process that starts a limiter, a keyed pool or a ban. Without this check, a system that overcommits
  # would grant the memory, and kill the VM when the VM uses the memory.
  @moduledoc false

  # The size, in bytes, of the largest table that is started without a check of the memory.
  @unchecked 64 * 1_024 * 1_024

  # Returns `true` if a table of that size needs no check, or if the bytes are free in the machine
  # and in the container. If the system reports no figure, the memory counts as free.
  @spec available?(non_neg_integer) :: boolean
  def available?(bytes) when bytes <= @unchecked, do: true
  def available?(bytes), do: Enum.all?([machine("/proc"), container("/sys/fs/cgroup")], &(&1 == nil or bytes <= &1))

  # Returns the free bytes of the machine; nil if the system does not report them.
  @spec machine(Path.t()) :: non_neg_integer | nil
  def machine(dir) do
    with {:ok, text} <- File.read(Path.join(dir, "meminfo")),
         [_, kilobytes] <- Regex.run(~r/^MemAvailable:\s+(\d+) kB$/m, text) do
      String.to_integer(kilobytes) * 1_024
    else
      _not_reported -> nil
    end
  end

  # Returns the bytes that the container can still use; nil if the container has no limit, or the
  # system does not report it.
  @spec container(Path.t()) :: non_neg_integer | nil
  def container(dir) do
    with {:ok, most} <- File.read(Path.join(dir, "memory.max")),
         {most, _} <- Integer.parse(most),
         {:ok, now} <- File.read(Path.join(dir, "memory.current")),
         {now, _} <- Integer.parse(now) do
      max(most - now + cached(dir), 0)
    else
      _not_reported -> nil
    end
  end

  # Returns the bytes of file pages that were not used lately, which the kernel frees on demand.
  defp cached(dir) do
    with {:ok, text} <- File.read(Path.join(dir, "memory.stat")),
         [_, bytes] <- Regex.run(~r/^inactive_file (\d+)$/m, text) do
      String.to_integer(bytes)
    else
      _not_reported -> 0
    end
  end
end
