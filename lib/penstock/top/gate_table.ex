defmodule Penstock.Top.GateTable do
  # The table of gates: their order, the columns that fit, and a line for each gate.
  @moduledoc false

  alias Penstock.Top.{Figure, Text}
  alias Penstock.View.{Rates, Snapshot, Use, Verdict}

  @typedoc "A gate, with what is derived from it."
  @type row :: %{
          name: String.t(),
          kind: String.t(),
          used: non_neg_integer | nil,
          limit: non_neg_integer | :infinity | nil,
          share: float,
          waiting: non_neg_integer | nil,
          admitted: float | nil,
          refused: float | nil,
          state: Verdict.state(),
          why: String.t() | nil
        }

  @kinds %{pool: "pool", keyed_pool: "keyed", rate_limiter: "rate", ban: "ban", gate: "gate"}

  # The fixed columns, from left to right, after the name: title, width, side, and the sort that
  # orders by it. Those that are first in @dropped go first when the page is narrow.
  @columns [
    kind: {"KIND", 5, :left, nil},
    used: {"USED/LIMIT", 11, :right, :used},
    bar: {"", 10, :left, nil},
    waiting: {"WAIT", 5, :right, :waiting},
    admitted: {"ADMIT/S", 8, :right, :admitted},
    refused: {"REFUSE/S", 9, :right, :refused},
    state: {"STATE", 8, :left, :state}
  ]
  @dropped [:bar, :kind, :waiting, :admitted]

  @least_name 16
  @most_name 40
  # Enough for @most_name columns of characters of four bytes.
  @most_bytes 4 * @most_name + 1
  # The reason has a column of its own if it has this much room. Otherwise it has a line of its own.
  @least_why 60

  @spec rows(Snapshot.t(), %{atom => Rates.rates()}) :: [row]
  def rows(snapshot, rates), do: for(gate <- snapshot.gates, do: row(gate, rates[gate.name]))

  defp row(gate, rates) do
    {state, why} = Verdict.of(gate, rates)
    {used, limit} = Use.of(gate)

    %{
      name: gate.name |> name() |> Text.tail(@most_name),
      kind: Map.get(@kinds, gate.kind, "?"),
      used: used,
      limit: limit,
      share: Use.share(used, limit) || 0.0,
      waiting: gate.info[:waiting],
      admitted: if(gate.kind != :ban, do: rates && rates.admitted),
      refused: rates && Rates.refused(rates),
      state: state,
      why: why
    }
  end

  # Returns the name as Elixir shows it, without the quotes around an unusual one.
  @spec name(atom) :: String.t()
  def name(name) do
    case Atom.to_string(name) do
      "Elixir." <> rest when rest != "" -> Text.ending(rest, @most_bytes)
      text -> Text.ending(text, @most_bytes)
    end
  end

  # Returns the rows in an order of `Penstock.Top.View`. The name decides between equal rows.
  @spec sort([row], atom) :: [row]
  def sort(rows, by), do: Enum.sort_by(rows, &{order(&1, by), &1.name})

  defp order(_row, :name), do: 0
  defp order(row, :used), do: -row.share
  defp order(row, :admitted), do: -(row.admitted || 0)
  defp order(row, :refused), do: -(row.refused || 0)
  defp order(row, :waiting), do: -(row.waiting || 0)
  defp order(row, :state), do: {Verdict.rank(row.state), -(row.refused || 0), -row.share}

  @typedoc "The columns that fit: those with a fixed width, the width of the name, and that of the reason."
  @type layout :: %{columns: [atom], name: pos_integer, why: non_neg_integer}

  @spec layout([row], pos_integer) :: layout
  def layout(rows, columns) do
    kept = fit(Keyword.keys(@columns), @dropped, columns)
    room = max(columns - fixed(kept), 1)
    longest = rows |> Enum.map(&Text.width(Text.clean(&1.name))) |> Enum.max(fn -> 0 end)
    name = longest |> max(@least_name) |> min(@most_name) |> min(room)
    why = room - name - 1

    if why >= @least_why,
      do: %{columns: kept, name: name, why: why},
      else: %{columns: kept, name: min(room, @most_name), why: 0}
  end

  # Returns how many lines `lines/2` makes of a row.
  @spec height(row, layout) :: 1 | 2
  def height(row, layout), do: if(row.why && layout.why == 0, do: 2, else: 1)

  defp fit(kept, [next | dropped], columns) do
    if columns - fixed(kept) >= @least_name, do: kept, else: fit(List.delete(kept, next), dropped, columns)
  end

  defp fit(kept, [], _columns), do: kept

  # One column separates two columns.
  defp fixed(kept), do: kept |> Enum.map(&(1 + elem(@columns[&1], 1))) |> Enum.sum()

  @spec head(layout, atom) :: Penstock.Top.Line.t()
  def head(layout, sort) do
    fixed =
      for column <- layout.columns, {title, width, side, by} = @columns[column] do
        " " <> Text.pad(title(title, by, sort), width, side)
      end

    why = if layout.why > 0, do: [Text.pad(" WHY", layout.why + 1)], else: []
    [{:head, IO.iodata_to_binary([Text.pad(title("NAME", :name, sort), layout.name), fixed, why])}]
  end

  # Marks the column that the rows are ordered by.
  defp title(title, by, by), do: title <> "*"
  defp title(title, _by, _sort), do: title

  # Returns the one or two lines of a gate.
  @spec lines(row, layout) :: [Penstock.Top.Line.t()]
  def lines(row, layout) do
    style = style(row.state)
    cells = for column <- layout.columns, do: [" ", cell(column, row, style)]
    first = [{style(row.state, :name), Text.pad(Text.tail(row.name, layout.name), layout.name)} | Enum.concat(cells)]

    cond do
      row.why == nil -> [first]
      layout.why > 0 -> [first ++ [" ", {style, row.why}]]
      true -> [first, ["  ", {style, row.why}]]
    end
  end

  defp cell(:kind, row, _style), do: pad(:kind, row.kind)
  defp cell(:used, %{used: nil}, _style), do: pad(:used, "-")
  defp cell(:used, row, _style), do: pad(:used, "#{Figure.count(row.used)}/#{Figure.count(row.limit)}")
  defp cell(:bar, %{limit: limit}, _style) when not is_integer(limit), do: pad(:bar, "")
  defp cell(:bar, row, _style), do: {bar_style(row.share), "[#{Figure.bar(row.share, 8)}]"}
  defp cell(:waiting, row, _style), do: pad(:waiting, Figure.count(row.waiting))
  defp cell(:admitted, row, _style), do: pad(:admitted, Figure.rate(row.admitted))

  defp cell(:refused, %{refused: refused} = row, style) when is_float(refused) and refused > 0,
    do: {style, pad(:refused, Figure.rate(row.refused))}

  defp cell(:refused, row, _style), do: pad(:refused, Figure.rate(row.refused))
  defp cell(:state, row, style), do: {style, pad(:state, Atom.to_string(row.state))}

  defp pad(column, text) do
    {_title, width, side, _by} = @columns[column]
    Text.pad(text, width, side)
  end

  defp style(:refusing), do: :bad
  defp style(:stopped), do: :warn
  defp style(:full), do: :warn
  defp style(:calm), do: :plain

  defp style(:calm, :name), do: :plain
  defp style(_state, :name), do: :title

  defp bar_style(share) when share >= 1, do: :bad
  defp bar_style(share) when share >= 0.75, do: :warn
  defp bar_style(_share), do: :good
end
