defmodule Penstock.Demo.Tally do
  @moduledoc false

  # Counts the offered work by its outcome. The process that sees an outcome counts it in atomics,
  # because one process that counted for all would get a flood of messages, and handle them late.
  #
  # `asked`, `answered` and `slowest_us` are those of innocent clients, who take no part in the
  # attack.

  @slots [:offered, :done, :refused, :system_limit, :peak_processes, :asked, :answered, :slowest_us]
         |> Enum.with_index(1)

  @type t :: :atomics.atomics_ref()
  @type counter :: :offered | :done | :refused | :system_limit | :asked

  @spec new() :: t()
  def new, do: :atomics.new(length(@slots), signed: false)

  @spec add(t(), counter()) :: :ok
  def add(tally, counter), do: :atomics.add(tally, slot(counter), 1)

  @doc """
  Raises the recorded peak to the number of processes that exist now.

  The number grows only by a spawn. So if a process calls this after each spawn, the tally also
  records a peak between two samples of the sampler.
  """
  @spec note_processes(t()) :: :ok
  def note_processes(tally), do: raise_to(tally, :peak_processes, :erlang.system_info(:process_count))

  @doc "Counts a request that an innocent client sent at `asked_us` as answered, and notes its time."
  @spec note_answer(t(), integer()) :: :ok
  def note_answer(tally, asked_us) do
    raise_to(tally, :slowest_us, max(System.monotonic_time(:microsecond) - asked_us, 0))
    :atomics.add(tally, slot(:answered), 1)
  end

  @spec read(t()) :: %{atom() => non_neg_integer()}
  def read(tally), do: Map.new(@slots, fn {name, slot} -> {name, :atomics.get(tally, slot)} end)

  defp raise_to(tally, counter, value) do
    slot = slot(counter)
    raise_to(tally, slot, :atomics.get(tally, slot), value)
  end

  defp raise_to(_tally, _slot, seen, value) when seen >= value, do: :ok

  defp raise_to(tally, slot, seen, value) do
    case :atomics.compare_exchange(tally, slot, seen, value) do
      :ok -> :ok
      newer -> raise_to(tally, slot, newer, value)
    end
  end

  for {name, slot} <- @slots do
    defp slot(unquote(name)), do: unquote(slot)
  end
end
