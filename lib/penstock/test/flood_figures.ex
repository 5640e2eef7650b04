defmodule Penstock.Test.FloodFigures do
  # Makes figures of the results of a flood.
  @moduledoc false

  # How long a text about what was raised may be, so that equal failures with long values are one.
  @text 200

  @typedoc "The outcome of a call, and its times in native units, which are nil if the caller died."
  @type result :: {:ok | {:refused, atom} | {:raised, String.t()}, integer | nil, integer | nil, integer | nil}

  @spec of([result], non_neg_integer) :: Penstock.Test.figures()
  def of(results, native) do
    groups = Enum.group_by(results, &group/1)
    ok = Map.get(groups, :ok, [])
    refused = Map.get(groups, :refused, [])
    raised = Map.get(groups, :raised, [])
    times = times(ok)

    %{
      ok: length(ok),
      refused: length(refused),
      raised: length(raised),
      peak: peak(ok ++ raised),
      reasons: Enum.frequencies_by(refused, fn {{:refused, reason}, _, _, _} -> reason end),
      raises: Enum.frequencies_by(raised, fn {{:raised, text}, _, _, _} -> String.slice(text, 0, @text) end),
      min_us: percentile(times, 0),
      p50_us: percentile(times, 50),
      p90_us: percentile(times, 90),
      p99_us: percentile(times, 99),
      p999_us: percentile(times, 99.9),
      max_us: percentile(times, 100),
      histogram: histogram(times),
      refused_us: refused |> times() |> short(),
      ms: System.convert_time_unit(native, :native, :millisecond)
    }
  end

  defp group({:ok, _, _, _}), do: :ok
  defp group({{group, _detail}, _, _, _}), do: group

  defp times(results), do: Enum.sort(for {_, from, _, to} when from != nil <- results, do: us(to - from))

  defp us(native), do: System.convert_time_unit(native, :native, :microsecond)

  defp short(times), do: %{p50: percentile(times, 50), p99: percentile(times, 99), max: percentile(times, 100)}

  # The nearest rank: the smallest time that is not below `percent` of all times.
  defp percentile([], _percent), do: nil
  defp percentile(times, percent), do: Enum.at(times, max(ceil(length(times) * percent / 100), 1) - 1)

  # Counts times by powers of two.
  defp histogram(times), do: times |> Enum.frequencies_by(&power(1, &1)) |> Enum.sort()

  defp power(bound, us) when us <= bound, do: bound
  defp power(bound, us), do: power(2 * bound, us)

  # Of an end and a beginning at the same time, the end comes first.
  defp peak(results) do
    running = for {_, from, admitted, to} when from != nil <- results, do: [{admitted, 1}, {to, -1}]

    running
    |> List.flatten()
    |> Enum.sort()
    |> Enum.reduce({0, 0}, fn {_at, step}, {count, peak} -> {count + step, max(peak, count + step)} end)
    |> elem(1)
  end
end
