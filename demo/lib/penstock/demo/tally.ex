defmodule Penstock.Demo.Tally do
  @moduledoc false

  # Counts the offered work by its outcome. The process that sees an outcome counts it in atomics,
  # because one process that counted for all would get a flood of messages, and handle them late.

  @slots %{offered: 1, done: 2, refused: 3, system_limit: 4, peak_processes: 5}

  @type t :: :atomics.atomics_ref()
  @type counter :: :offered | :done | :refused | :system_limit

  @spec new() :: t()
  def new, do: :atomics.new(map_size(@slots), signed: false)

  @spec add(t(), counter()) :: :ok
  def add(tally, counter), do: :atomics.add(tally, slot(counter), 1)

  @doc """
  Raises the recorded peak to the number of processes that exist now.

  The number grows only by a spawn. So if a process calls this after each spawn, the tally also
  records a peak between two samples of the sampler.
  """
  @spec note_processes(t()) :: :ok
  def note_processes(tally) do
    peak_slot = slot(:peak_processes)

    raise_to(
      tally,
      peak_slot,
      :atomics.get(tally, peak_slot),
      :erlang.system_info(:process_count)
    )
  end

  @spec read(t()) :: %{atom() => non_neg_integer()}
  def read(tally), do: Map.new(@slots, fn {name, slot} -> {name, :atomics.get(tally, slot)} end)

  defp raise_to(_tally, _slot, seen, count) when seen >= count, do: :ok

  defp raise_to(tally, slot, seen, count) do
    case :atomics.compare_exchange(tally, slot, seen, count) do
      :ok -> :ok
      newer -> raise_to(tally, slot, newer, count)
    end
  end

  for {name, slot} <- @slots do
    defp slot(unquote(name)), do: unquote(slot)
  end
end
