defmodule Penstock.Stress.Soak.Figures do
  # Figures of the whole VM at rest, and whether one of them grows from rest to rest.
  @moduledoc false

  # By how much each figure may grow over all rests after the warm-up, however many they are. Modules
  # that are loaded late bring atoms; allocators keep memory that nobody uses. The janitor monitors each
  # of the twelve owners once, or twice after its own restart. Pools without names reuse each other's
  # memory. The bytes of the NIF hold no memory of allocators.
  @slack [processes: 2, ports: 1, tables: 1, table_words: 5_000, atoms: 200, monitors: 12] ++
           [code_kb: 500, memory_kb: 2_000, resident_kb: 16_000, unnamed_pools: 20, native_bytes: 200_000]

  # What the VM keeps in kB of each load of a module, see `Soak`.
  @load_kb 20

  # The share of the rests that is left out, and the least number of the others.
  @warm_up 0.3
  @least 4

  alias Penstock.Native

  @type t :: keyword(non_neg_integer)

  # `loads` is how often the module of the NIF was loaded until now.
  def measure(loads) do
    pids = Process.list()
    # Twice, because a term that the first collection frees may be the last to refer to a native resource.
    for _ <- 1..2, pid <- pids, do: :erlang.garbage_collect(pid)
    tables = :ets.all()
    words = for table <- tables, words = :ets.info(table, :memory), is_integer(words), do: words

    [
      processes: length(Process.list()),
      ports: length(Port.list()),
      tables: length(tables),
      table_words: Enum.sum(words),
      atoms: :erlang.system_info(:atom_count),
      monitors: monitors(),
      code_kb: div(:erlang.memory(:code), 1_024),
      memory_kb: div(:erlang.memory(:total), 1_024),
      resident_kb: resident_kb(),
      unnamed_pools: elem(Native.pools_made(), 0),
      # Nil in a build without the feature "count".
      native_bytes: Native.allocated() || 0,
      loads: loads
    ]
  end

  # Never reads `:monitored_by`: that can end the VM while a native resource that monitors goes away.
  defp monitors do
    for pid <- Process.list(), {:monitors, all} <- [Process.info(pid, :monitors)], reduce: 0, do: (n -> n + length(all))
  end

  # The memory of the native library that `:erlang.memory/0` does not count is in here.
  defp resident_kb do
    case File.read("/proc/self/status") do
      {:ok, status} -> status |> then(&Regex.run(~r/VmRSS:\s+(\d+)/, &1)) |> Enum.at(1) |> String.to_integer()
      {:error, _reason} -> 0
    end
  end

  # Returns the figures that grew by more than their slack. The growth is the median of the slopes
  # between all pairs of rests (Theil–Sen), times the number of steps. So a few rests that differ have
  # no influence.
  @spec grown([t]) :: [{atom, number}] | {:too_few, pos_integer}
  def grown(rests) do
    kept = Enum.drop(rests, ceil(@warm_up * length(rests)))

    if length(kept) < @least,
      do: {:too_few, ceil(@least / (1 - @warm_up))},
      else: for({name, slack} <- @slack, by = growth(kept, name), by > slack(name, slack, kept), do: {name, by})
  end

  defp slack(:resident_kb, slack, rests), do: slack + @load_kb * (List.last(rests)[:loads] - hd(rests)[:loads])
  defp slack(_name, slack, _rests), do: slack

  @doc false
  def growth(rests, name) do
    points = rests |> Enum.map(& &1[name]) |> Enum.with_index()
    slopes = for {y1, x1} <- points, {y2, x2} <- points, x2 > x1, do: (y2 - y1) / (x2 - x1)
    Float.round(median(slopes) * (length(points) - 1), 1)
  end

  defp median(numbers) do
    sorted = Enum.sort(numbers)
    middle = div(length(sorted), 2)

    if rem(length(sorted), 2) == 1,
      do: Enum.at(sorted, middle),
      else: (Enum.at(sorted, middle - 1) + Enum.at(sorted, middle)) / 2
  end
end
