defmodule Penstock.Top.Page do
  # Renders a report as a page of text. Pure: the same arguments give the same page.
  #
  # A page has at most the given lines, and no line has more than the given columns.
  @moduledoc false

  alias Penstock.Top.{GateTable, Header, Help, Line, ListTable, View}
  alias Penstock.View.{Rates, Report}

  @lists [:holders, :keys, :bans]

  # A page of fewer lines shows one table at a time, unless the user asks for all.
  @large_page 30
  # With fewer lines than these for gates, the state stands alone: reasons would hide other gates.
  @reasons_need 10
  # The most rows that a list has on a page with all tables, as long as gates need the room.
  @list_rows 6
  # The most rows that a list has on a page with all tables.
  @most_list_rows 20

  @spec render(Report.t(), %{atom => Rates.rates()}, View.t(), {pos_integer, pos_integer}) :: iodata
  def render(report, rates, view, {columns, lines}) do
    page = lines(report, rates, view, columns, lines)
    page = if View.stale?(view), do: fade(page), else: page
    page |> Enum.take(lines) |> Enum.map(&[Line.render(&1, columns, view.colour?), "\n"])
  end

  # Returns the section that a page of this height shows.
  @spec section(View.t(), pos_integer) :: atom
  def section(%{section: nil}, lines), do: if(lines >= @large_page, do: :all, else: :gates)
  def section(%{section: section}, _lines), do: section

  # Returns the number of rows of the table that a page of this height can scroll.
  @spec rows(Report.t(), View.t(), pos_integer) :: non_neg_integer
  def rows(report, view, lines) do
    case section(view, lines) do
      list when list in @lists -> length(report[list] || [])
      _gates -> length(report.snapshot.gates)
    end
  end

  # Returns how many rows of each list a page of this height needs.
  @spec sizes(View.t(), pos_integer) :: Report.sizes()
  def sizes(view, lines) do
    section = section(view, lines)
    Map.new(@lists, &{&1, if(section in [:all, &1], do: lines + view.from, else: 0)})
  end

  # The notice of a page that is out of date stays as it is.
  defp fade([first, notice | rest]), do: [Line.fade(first), notice | Enum.map(rest, &Line.fade/1)]
  defp fade(page), do: page

  defp lines(report, rates, view, columns, lines) do
    rows = GateTable.rows(report.snapshot, rates)
    section = section(view, lines)
    top = Header.lines(report, view, columns, lines) ++ [tabs(report, rows, view, section)]
    body = max(lines - length(top) - 1, 0)

    shown =
      if view.help?,
        do: Help.lines(),
        else: section(section, report, GateTable.sort(rows, view.sort), view, columns, body)

    top ++ Enum.take(shown, body) ++ foot(view, max(body - length(shown), 0))
  end

  defp tabs(%{snapshot: snapshot}, rows, view, section) do
    refusing = Enum.count(rows, &(&1.state == :refusing))
    gates = "gates #{length(rows)}#{if snapshot.left_out > 0, do: " of #{length(rows) + snapshot.left_out}"}"

    tabs = [
      tab("0 all", section == :all),
      " ",
      tab("1 #{gates}", section == :gates),
      if(refusing > 0, do: {:bad, " #{refusing} refusing"}, else: ""),
      for(list <- @lists, do: [" ", tab("#{digit(list)} #{list}", section == list)])
    ]

    List.flatten([tabs, "  by #{view.sort}"])
  end

  defp tab(title, true), do: {:title, "[#{title}]"}
  defp tab(title, false), do: " #{title} "

  defp digit(:holders), do: 2
  defp digit(:keys), do: 3
  defp digit(:bans), do: 4

  defp section(:gates, _report, [], _view, _columns, _body), do: [["no gate is running on this node"]]
  defp section(:gates, _report, rows, view, columns, body), do: gates(rows, view, columns, body)

  defp section(:all, report, rows, view, columns, body) do
    filled = for list <- @lists, report[list] not in [[], nil], do: list
    # A list takes an empty line, its head, and its rows.
    least = Map.new(filled, &{&1, 2 + min(length(report[&1]), @list_rows)})
    for_lists = least |> Map.values() |> Enum.sum() |> min(div(body, 2))
    gates = section(:gates, report, rows, view, columns, body - for_lists)
    left = body - length(gates)

    lists =
      filled
      |> Enum.with_index()
      |> Enum.flat_map_reduce(left, fn {list, at}, left ->
        share = left |> div(length(filled) - at) |> min(@most_list_rows + 2)
        lines = [[] | section(list, report, rows, %{view | from: 0}, columns, max(share - 1, 0))]
        lines = if share >= 3, do: Enum.take(lines, share), else: []
        {lines, left - length(lines)}
      end)
      |> elem(0)

    gates ++ lists
  end

  defp section(list, report, _rows, view, columns, body) do
    case report[list] do
      nil ->
        [["reading the #{list} ..."]]

      [] ->
        [[none(list)]]

      entries ->
        [
          ListTable.head(list, columns)
          | entries |> window(view.from, body - 1) |> Enum.map(&ListTable.line(list, &1, columns))
        ]
    end
  end

  defp none(:holders), do: "no process holds a permit of a pool"
  defp none(:keys), do: "no key holds a permit of a keyed pool"
  defp none(:bans), do: "no key is banned"

  defp gates(rows, view, columns, body) do
    layout = GateTable.layout(rows, columns)
    rows = if layout.why == 0 and body < @reasons_need, do: Enum.map(rows, &%{&1 | why: nil}), else: rows
    room = max(body - 1, 0)
    from = start(rows, view.from, layout, room)
    [GateTable.head(layout, view.sort) | rows |> Enum.drop(from) |> blocks(layout, room)]
  end

  # The last line tells how many gates have no room.
  defp blocks(rows, layout, room) do
    heights = rows |> Enum.map(&GateTable.height(&1, layout)) |> Enum.sum()
    fit = if heights <= room, do: length(rows), else: count(rows, layout, room - 1)
    {shown, hidden} = Enum.split(rows, fit)
    Enum.flat_map(shown, &GateTable.lines(&1, layout)) ++ more(length(hidden))
  end

  # Returns how many rows from the start fit into the lines.
  defp count(rows, layout, room) do
    {fit, _left} =
      Enum.reduce_while(rows, {0, room}, fn row, {fit, left} ->
        height = GateTable.height(row, layout)
        if height <= left, do: {:cont, {fit + 1, left - height}}, else: {:halt, {fit, left}}
      end)

    fit
  end

  defp more(0), do: []
  defp more(hidden), do: [[{:faint, "#{hidden} more"}]]

  # Returns how many rows are left out above: `from`, or fewer if the page would not be filled.
  defp start(_rows, 0, _layout, _room), do: 0

  defp start(rows, from, layout, room) do
    fit = rows |> Enum.reverse() |> count(layout, room)
    min(from, length(rows) - fit)
  end

  # Returns `n` rows from the given one on, or the last `n` rows if fewer are left.
  defp window(rows, from, n) do
    n = max(n, 0)
    rows |> Enum.drop(min(from, max(length(rows) - n, 0))) |> Enum.take(n)
  end

  # Plain text has no line of keys, which would be at the bottom.
  defp foot(%{input: :none}, _free), do: []
  defp foot(view, free), do: List.duplicate([], free) ++ [keys(view)]

  defp keys(%{help?: true}), do: [{:faint, "any key: back"}]

  defp keys(view) do
    enter = if view.input == :lines, do: "key, then Enter: ", else: ""
    [{:faint, "#{enter}q quit  h help  p pause  tab/0-4 table  sort: n u a r w s  j/k scroll"}]
  end
end
