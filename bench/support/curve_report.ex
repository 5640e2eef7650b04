defmodule Penstock.Bench.CurveReport do
  @moduledoc false
  # Prints curves as tables, and writes them as CSV with a line for each series and size.

  alias Penstock.Bench.Stats

  @csv ~w(curve title x size series side name ns low high ratio)
  @size 10
  @cell 20

  def csv_header, do: Enum.join(@csv, ",") <> "\n"

  @doc "Returns the figures of one size. `rounds` has a list of the samples of all series for each round."
  def figures(curve, size, rounds) do
    for {{id, side, name}, at} <- Enum.with_index(curve.series) do
      samples = Enum.map(rounds, &Enum.at(&1, at))

      %{
        curve: curve.id,
        title: curve.title,
        x: curve.x,
        size: size,
        series: id,
        side: side,
        name: name,
        ns: Stats.median(samples),
        low: Stats.quantile(samples, 0.25),
        high: Stats.quantile(samples, 0.75),
        ratio: Stats.median(for round <- rounds, do: Enum.at(round, at) / hd(round))
      }
    end
  end

  # No value has a comma or a quote.
  def csv(figures) do
    for figure <- figures, do: Enum.map_join(@csv, ",", &value(Map.fetch!(figure, String.to_existing_atom(&1)))) <> "\n"
  end

  defp value(float) when is_float(float), do: :erlang.float_to_binary(float, decimals: 3)
  defp value(other), do: to_string(other)

  def head(curve) do
    [{first, _side, _name} | _] = curve.series
    IO.puts("\n#{curve.id}: #{curve.title}. In ns, and as a ratio to #{first}")
    for {id, side, name} <- curve.series, do: IO.puts("  #{id}: #{name}#{if side == :ours, do: " (ours)"}")
    IO.puts(line([curve.x | for({id, _side, _name} <- curve.series, do: id)]))
  end

  def row(figures) do
    cells = for figure <- figures, do: "#{ns(figure.ns)} (#{ratio(figure.ratio)})"
    IO.puts(line([hd(figures).size | cells]))
  end

  @doc "Prints by what factor the time of each series grew from the first size to the last."
  def growth([first, _next | _] = sizes) do
    cells = for {from, to} <- Enum.zip(first, List.last(sizes)), do: "x #{ratio(to.ns / from.ns)}"
    IO.puts(line(["growth" | cells]))
  end

  def growth(_fewer_than_two), do: :ok

  defp line([first | cells]) do
    padded = for cell <- cells, do: cell |> to_string() |> String.pad_leading(@cell)
    Enum.join([String.pad_trailing(to_string(first), @size) | padded], " ")
  end

  defp ns(ns) when ns < 1_000, do: :erlang.float_to_binary(ns / 1, decimals: 1)
  defp ns(ns), do: Integer.to_string(round(ns))

  defp ratio(ratio) when ratio < 0.1, do: :erlang.float_to_binary(ratio / 1, decimals: 4)
  defp ratio(ratio), do: :erlang.float_to_binary(ratio / 1, decimals: 2)
end
