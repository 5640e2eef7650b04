defmodule Penstock.Memory do
  # Whether there is memory to be had, as far as the system tells. One that promises more than it has ends the VM when it is used.
  @moduledoc false

  # Less than this is asked of nobody.
  @little 64 * 1_024 * 1_024

  @doc false
  @spec available?(non_neg_integer) :: boolean
  def available?(bytes) when bytes <= @little, do: true
  def available?(bytes), do: Enum.all?([machine(), container()], &(&1 == nil or bytes <= &1))

  # nil where it is not told.
  defp machine do
    with {:ok, text} <- File.read("/proc/meminfo"),
         [_, kilobytes] <- Regex.run(~r/^MemAvailable:\s+(\d+) kB$/m, text) do
      String.to_integer(kilobytes) * 1_024
    else
      _not_told -> nil
    end
  end

  defp container do
    with {:ok, most} <- File.read("/sys/fs/cgroup/memory.max"),
         {most, _} <- Integer.parse(most),
         {:ok, now} <- File.read("/sys/fs/cgroup/memory.current"),
         {now, _} <- Integer.parse(now) do
      max(most - now, 0)
    else
      _not_told -> nil
    end
  end
end
