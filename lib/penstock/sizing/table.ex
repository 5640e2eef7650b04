defmodule Penstock.Sizing.Table do
  @moduledoc false
  # Several limits, with what callers meet at each.

  alias Penstock.Sizing.Queue

  @titles ["limit", "in use", "callers that wait", "mean wait", "99 % wait at most", "refused if none waits"]
  @gap "   "
  # The most rows, and the part of callers that wait below which there are no more rows.
  @rows 10
  @rare 0.001

  @doc "Returns the table for `load` permits in use of callers that hold them for `hold` ms."
  def text(load, hold) do
    rows = for limit <- limits(load), do: row(limit, load, hold)
    widths = for title <- @titles, do: String.length(title)
    Enum.map_join([@titles | rows], "\n", &line(&1, widths))
  end

  defp limits(load) do
    first = trunc(load) + 1
    # The spread of the permits in use is the root of their mean. So a step is a part of it.
    step = max(1, round(:math.sqrt(load) / 2))

    first
    |> Stream.iterate(&(&1 + step))
    |> Stream.take(@rows)
    |> Enum.reduce_while([], fn limit, limits ->
      rare? = Queue.waits(limit, load, 1).waiting < @rare
      {if(rare?, do: :halt, else: :cont), [limit | limits]}
    end)
    |> Enum.reverse()
  end

  defp row(limit, load, hold) do
    waits = Queue.waits(limit, load, hold)

    [
      Integer.to_string(limit),
      percent(waits.use, 0),
      percent(waits.waiting, 1),
      ms(waits.mean),
      ms(waits.p99),
      percent(Queue.refused(limit, load), 2)
    ]
  end

  defp line(cells, widths) do
    cells |> Enum.zip(widths) |> Enum.map_join(@gap, fn {cell, width} -> String.pad_leading(cell, width) end)
  end

  defp percent(part, decimals), do: decimal(part * 100, decimals) <> " %"

  defp ms(time) when time >= 100, do: decimal(time, 0) <> " ms"
  defp ms(time), do: decimal(time, 1) <> " ms"

  defp decimal(number, decimals), do: :erlang.float_to_binary(number / 1, decimals: decimals)
end
