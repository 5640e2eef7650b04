defmodule Penstock.Node.MemoryGuard do
  # Checks whether the system has enough memory, as far as it reports that. A system that
  # overcommits would otherwise kill the VM when the memory is used.
  @moduledoc false

  # Smaller amounts are not checked.
  @little 64 * 1_024 * 1_024

  @spec available?(non_neg_integer) :: boolean
  def available?(bytes) when bytes <= @little, do: true
  def available?(bytes), do: Enum.all?([machine("/proc"), container("/sys/fs/cgroup")], &(&1 == nil or bytes <= &1))

  # Returns the free bytes of the machine; nil where the system does not report them.
  @spec machine(Path.t()) :: non_neg_integer | nil
  def machine(dir) do
    with {:ok, text} <- File.read(Path.join(dir, "meminfo")),
         [_, kilobytes] <- Regex.run(~r/^MemAvailable:\s+(\d+) kB$/m, text) do
      String.to_integer(kilobytes) * 1_024
    else
      _not_told -> nil
    end
  end

  @spec container(Path.t()) :: non_neg_integer | nil
  def container(dir) do
    with {:ok, most} <- File.read(Path.join(dir, "memory.max")),
         {most, _} <- Integer.parse(most),
         {:ok, now} <- File.read(Path.join(dir, "memory.current")),
         {now, _} <- Integer.parse(now) do
      max(most - now + cached(dir), 0)
    else
      _not_told -> nil
    end
  end

  # Returns the bytes of file pages that were not used lately: the kernel frees them on demand.
  defp cached(dir) do
    with {:ok, text} <- File.read(Path.join(dir, "memory.stat")),
         [_, bytes] <- Regex.run(~r/^inactive_file (\d+)$/m, text) do
      String.to_integer(bytes)
    else
      _not_told -> 0
    end
  end
end
