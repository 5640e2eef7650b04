defmodule Penstock.Top.ListTable do
  # The tables of holders, of keys and of bans.
  @moduledoc false

  alias Penstock.Top.{Figure, GateTable, Line, Text}

  # The columns of each table: title, the share of the room that is left, or a fixed width, and side.
  # Of a name, `:tail` keeps the end.
  @tables %{
    holders: [
      {"POOL", {:share, 3}, :tail},
      {"HOLDER", {:share, 2}, :left},
      {"PERMITS", 7, :right},
      {"HELD FOR", 11, :right}
    ],
    keys: [
      {"KEYED POOL", {:share, 2}, :tail},
      {"KEY", {:share, 3}, :left},
      {"PERMITS", 7, :right},
      {"WAITING", 7, :right}
    ],
    bans: [
      {"BAN LIST", {:share, 2}, :tail},
      {"KEY", {:share, 3}, :left},
      {"REASON", {:share, 2}, :left},
      {"TIMES", 5, :right},
      {"ENDS IN", 11, :right}
    ]
  }

  # Wider columns would only tear the row apart.
  @widest 40

  @spec head(atom, pos_integer) :: Line.t()
  def head(table, columns) do
    titles = for {title, _width, _side} <- @tables[table], do: title
    [{:head, row(table, titles, columns)}]
  end

  @spec line(atom, map, pos_integer) :: Line.t()
  def line(table, entry, columns), do: [row(table, cells(table, entry), columns)]

  defp cells(:holders, entry) do
    [GateTable.name(entry.gate), entry.pid, Figure.count(entry.permits), Figure.time(entry.held_ms)]
  end

  defp cells(:keys, entry) do
    [GateTable.name(entry.gate), entry.key, Figure.count(entry.permits), Figure.count(entry.waiting)]
  end

  defp cells(:bans, entry) do
    [GateTable.name(entry.gate), entry.key, entry.reason, Figure.count(entry.level), Figure.time(entry.until_ms)]
  end

  defp row(table, texts, columns) do
    columns_of_table = @tables[table]
    fixed = for {_title, width, _side} when is_integer(width) <- columns_of_table, do: width
    shares = for {_title, {:share, share}, _side} <- columns_of_table, do: share
    room = max(columns - Enum.sum(fixed) - length(columns_of_table) + 1, 0)

    columns_of_table
    |> Enum.zip(texts)
    |> Enum.map_join(" ", fn {{_title, width, side}, text} ->
      width = width(width, room, Enum.sum(shares))
      Text.pad(if(side == :tail, do: Text.tail(text, max(width, 1)), else: text), width, side(side))
    end)
  end

  defp side(:right), do: :right
  defp side(_left), do: :left

  defp width({:share, share}, room, shares), do: min(div(room * share, shares), @widest)
  defp width(width, _room, _shares), do: width
end
