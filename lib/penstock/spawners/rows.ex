defmodule Penstock.Spawners.Rows do
  # Adds windows up to rows, one for each function and what its creator runs.
  #
  # A window that a bound has cut short counts in proportion: its counts are multiplied by its
  # length and divided by the time that was traced. So the counts of a node that creates more
  # processes than are traced are estimates, which do not depend on when the bounds were reached.
  #
  # The creation that reached a bound counts once. For n creations at random times, up to the n-th
  # of them at time t, the fair estimate of the rate after t is (n - 1) / t.
  @moduledoc false

  alias Penstock.Spawners.{Call, Origin, Tracer}

  # The processes of a row whose life is checked at the end. They stand for all of the row.
  @max_sample 512
  # The rows that are kept when there are more than twice as many: those with the most processes.
  @max_rows 1_000
  # How many times as long as all windows the call may be. A run that a busy node held up until its
  # last instant has one short window, which tells nothing of the rest.
  @max_scale 4.0

  defstruct rows: %{}, late: %{}, covered: 0

  @typedoc "A function, and what its creator runs."
  @type key :: {Call.named(), Call.named() | nil}
  @typedoc "How many processes, and a sample in which each process stands for `weight` processes."
  @type row :: {float, [{pid, weight :: float}]}
  @type t :: %__MODULE__{
          rows: %{key => row},
          late: %{key => %{Call.named() => pos_integer}},
          covered: non_neg_integer
        }

  @spec new() :: t
  def new, do: %__MODULE__{}

  @spec add(t, Tracer.window(), Origin.answer()) :: t
  def add(rows, %{from: from, to: to, next: next} = window, answer) do
    weight = (next - from) / (to - from)
    {before, newest} = split(window.rows, window.newest)
    added = Enum.reduce([{before, weight}, {newest, 1.0}, {window.late, 1.0}], rows.rows, &weighted(&2, &1, answer))

    late =
      for {{call, _creator} = key, names} <- answer.late, name <- names, reduce: rows.late do
        late ->
          Map.update(late, {call, answer.by[key]}, %{name => 1}, fn seen -> Map.update(seen, name, 1, &(&1 + 1)) end)
      end

    %{rows | rows: bounded(added), late: late, covered: rows.covered + next - from}
  end

  defp split(counted, nil), do: {counted, %{}}

  # The newest is the first in the list of its row.
  defp split(counted, {key, pid}) do
    before =
      case counted do
        %{^key => {1, [^pid]}} -> Map.delete(counted, key)
        %{^key => {count, [^pid | others]}} -> %{counted | key => {count - 1, others}}
      end

    {before, %{key => {1, [pid]}}}
  end

  defp weighted(rows, {counted, weight}, answer) do
    Enum.reduce(counted, rows, fn {{call, _creator} = key, {count, pids}}, rows ->
      new = {count * weight, for(pid <- pids, do: {pid, weight})}
      Map.update(rows, {call, answer.by[key]}, new, &merge(&1, new))
    end)
  end

  # Returns the rows, most first. Windows that were lost, in which the tracer was killed or did not
  # run, count as the others.
  @spec list(t, pos_integer, pos_integer) :: [map]
  def list(%__MODULE__{rows: rows, late: late, covered: covered}, native, ms) do
    scale = if covered == 0, do: 1.0, else: min(native / covered, @max_scale)

    named =
      for {{call, by} = key, {count, sample}} <- rows,
          alive = alive(sample),
          {name, share} <- shares(call, late[key]),
          reduce: %{} do
        named ->
          Map.update(named, {name, by}, {count * share, alive * share}, fn {spawned, living} ->
            {spawned + count * share, living + alive * share}
          end)
      end

    named
    |> Enum.map(fn {{mfa, by}, {count, alive}} -> row(mfa, by, count * scale, alive * scale, ms) end)
    |> Enum.sort_by(&{-&1.spawned, &1.mfa, &1.by})
  end

  defp row(mfa, by, count, alive, ms) do
    spawned = max(round(count), 1)
    per_second = spawned * 1_000 / ms
    %{mfa: mfa, by: by, spawned: spawned, alive: min(round(alive), spawned), per_second: per_second}
  end

  # The processes of a row that could be asked for their function stand for the others.
  defp shares(call, nil), do: [{call, 1.0}]

  defp shares(_call, seen) do
    total = seen |> Map.values() |> Enum.sum()
    for {name, count} <- seen, do: {name, count / total}
  end

  defp alive(sample), do: for({pid, weight} <- sample, Process.alive?(pid), reduce: 0.0, do: (sum -> sum + weight))

  defp merge({count, sample}, {more, pids}), do: {count + more, thinned(pids ++ sample)}

  # Keeps a random part of a sample that is too long. Each process then stands for more.
  defp thinned(sample) do
    case length(sample) do
      long when long > @max_sample ->
        kept = Enum.take_random(sample, div(@max_sample, 2))
        for {pid, weight} <- kept, do: {pid, weight * long / length(kept)}

      _short ->
        sample
    end
  end

  defp bounded(rows) when map_size(rows) > 2 * @max_rows do
    rows |> Enum.sort_by(fn {_key, {count, _sample}} -> -count end) |> Enum.take(@max_rows) |> Map.new()
  end

  defp bounded(rows), do: rows
end
