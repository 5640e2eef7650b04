defmodule Penstock.Metrics.Text do
  # Writes metric families as text: format 0.0.4 of Prometheus, or OpenMetrics 1.0. Both have the
  # same samples, so that a server may change the format without new series.
  @moduledoc false

  alias Penstock.Metrics.Families

  @type format :: :prometheus | :openmetrics

  @prefix "penstock"

  # Returns the text of a family; [] if it has no sample. Each subject is its labels and its value.
  # `edges` are those of the buckets of histograms, as `edges/1` returns them.
  @spec family(Families.family(), [{String.t(), Families.value()}], [String.t()], format) :: iodata
  def family(family, subjects, edges, format) do
    name = name(family)
    sample = [name, suffix(family.type)]

    case for {labels, value} <- subjects, value not in [nil, []], do: samples(family.type, sample, labels, value, edges) do
      [] -> []
      samples -> [head(family, name, format), samples]
    end
  end

  # Returns what ends a text.
  @spec last(format) :: iodata
  def last(:prometheus), do: []
  def last(:openmetrics), do: "# EOF\n"

  # Returns the labels of the buckets with these edges in ms. OpenMetrics wants a float, and both
  # formats must have the same labels.
  @spec edges([pos_integer]) :: [String.t()]
  def edges(ms), do: for(edge <- ms, do: float(edge / 1_000)) ++ ["+Inf"]

  # Returns labels as text, without braces.
  @spec labels([Families.label()]) :: iodata
  def labels(labels), do: Enum.map_intersperse(labels, ",", fn {name, value} -> [name, "=\"", escape(value), ?"] end)

  defp name(%{name: ""}), do: @prefix
  defp name(%{name: name}), do: "#{@prefix}_#{name}"

  defp suffix(:counter), do: "_total"
  defp suffix(:info), do: "_info"
  defp suffix(_type), do: ""

  # Format 0.0.4 knows neither units nor the type of an info. There a counter has its suffix in each
  # line.
  defp head(family, name, :prometheus) do
    name = [name, suffix(family.type)]
    type = if family.type == :info, do: "gauge", else: Atom.to_string(family.type)
    ["# HELP ", name, ?\s, escape_help(family.help), "\n# TYPE ", name, ?\s, type, ?\n]
  end

  defp head(family, name, :openmetrics) do
    unit = if family.unit == "", do: [], else: ["# UNIT ", name, ?\s, family.unit, ?\n]
    ["# TYPE ", name, ?\s, Atom.to_string(family.type), ?\n, unit, "# HELP ", name, ?\s, escape(family.help), ?\n]
  end

  defp samples(:histogram, name, labels, {counts, sum_ms}, edges) do
    {buckets, count} =
      edges
      |> Enum.zip(counts)
      |> Enum.map_reduce(0, fn {edge, n}, below ->
        {[name, "_bucket{", labels, ",le=\"", edge, "\"} ", number(below + n), ?\n], below + n}
      end)

    [
      buckets,
      [name, "_sum{", labels, "} ", number(sum_ms / 1_000), ?\n],
      [name, "_count{", labels, "} ", number(count), ?\n]
    ]
  end

  defp samples(_type, name, labels, values, _edges) when is_list(values) do
    for {more, value} <- values, do: [name, ?{, join(labels, labels(more)), "} ", number(value), ?\n]
  end

  defp samples(_type, name, "", value, _edges), do: [name, ?\s, number(value), ?\n]
  defp samples(_type, name, labels, value, _edges), do: [name, ?{, labels, "} ", number(value), ?\n]

  defp join("", more), do: more
  defp join(labels, more), do: [labels, ?,, more]

  defp number(:infinity), do: "+Inf"
  defp number(n) when is_integer(n), do: Integer.to_string(n)
  defp number(n) when is_float(n), do: float(n)

  defp float(n), do: :erlang.float_to_binary(n, [:short])

  defp escape_help(text), do: text |> String.replace("\\", "\\\\") |> String.replace("\n", "\\n")
  defp escape(text), do: text |> escape_help() |> String.replace("\"", "\\\"")
end
