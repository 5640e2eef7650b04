defmodule Penstock.Dashboard.Live.Reading do
  # Reads a node for the page of LiveDashboard, as texts and rows of tables. The process of the
  # page asks the node once, so that all figures of a page are of one report.
  @moduledoc false

  alias Penstock.Dashboard.Live.Rows
  alias Penstock.Top.{Figure, Source}
  alias Penstock.View.{Report, Snapshot, State}

  @sizes %{holders: 20, keys: 20, bans: 20}

  # A user may pick a refresh that comes just after the second reading. Rates of a shorter time than this
  # would jump.
  @least_ms 500

  @titles %{
    "run_queue" => "run queue",
    "ets" => "ETS tables",
    "cpu_stall" => "stall of the CPU",
    "memory_stall" => "stall of memory"
  }

  @enforce_keys [:node, :at]
  defstruct [
    :node,
    :at,
    :error,
    :snapshot,
    :verdict,
    :pressure,
    :version,
    usages: [],
    gates: [],
    holders: [],
    keys: [],
    bans: []
  ]

  @type table :: :gates | :holders | :keys | :bans
  @typedoc "`error` is nil, or a sentence about the node that gave no report. `at` is in ms, monotonic."
  @type t :: %__MODULE__{
          node: node,
          at: integer,
          error: String.t() | nil,
          snapshot: Snapshot.t() | nil,
          verdict: String.t() | nil,
          pressure: String.t() | nil,
          version: String.t() | nil,
          usages: [
            %{name: String.t(), title: String.t(), current: String.t(), limit: String.t(), percent: String.t()}
          ],
          gates: [Rows.row()],
          holders: [Rows.row()],
          keys: [Rows.row()],
          bans: [Rows.row()]
        }

  # Rates are those since the earlier reading.
  @spec take(node, t | nil) :: t
  def take(node, earlier) do
    now = System.monotonic_time(:millisecond)
    if earlier && earlier.node == node && now - earlier.at < @least_ms, do: earlier, else: ask(node, earlier, now)
  end

  defp ask(node, earlier, now) do
    case Source.fetch(node, @sizes) do
      {:ok, report} -> of(report, before(earlier, node), %__MODULE__{node: node, at: now})
      {:error, error} -> %__MODULE__{node: node, at: now, error: Source.explain(node, error)}
    end
  end

  defp before(%{node: node, snapshot: snapshot}, node), do: snapshot
  defp before(_none, _node), do: nil

  @doc false
  # Returns what the page shows of a report.
  @spec of(Report.t(), Snapshot.t() | nil, t) :: t
  def of(report, earlier, reading) do
    view = State.of(report.snapshot, earlier)

    %{
      reading
      | snapshot: report.snapshot,
        verdict: verdict(view),
        pressure: pressure(view["vm"]),
        version: report.version,
        usages: for(resource <- view["vm"]["resources"], do: usage(resource)),
        gates: Rows.gates(view["gates"]),
        holders: Rows.holders(report.holders),
        keys: Rows.keys(report.keys),
        bans: Rows.bans(report.bans)
    }
  end

  defp verdict(%{"gates" => gates, "left_out" => left_out}) do
    shown = length(gates)
    refusing = Enum.count(gates, &(&1["state"] == "refusing"))

    cond do
      refusing > 0 -> "#{refusing} of #{shown} #{if refusing == 1, do: "refuses", else: "refuse"} work"
      shown == 0 -> "no gate is open"
      true -> "none of #{shown} refuses work"
    end <> if(left_out > 0, do: " (#{left_out} more are not shown)", else: "")
  end

  defp pressure(%{"pressure" => pressure, "because" => []}), do: pressure
  defp pressure(%{"pressure" => pressure, "because" => why}), do: "#{pressure}: #{Enum.map_join(why, ", ", &title/1)}"

  defp usage(%{"name" => name, "count" => count, "limit" => limit, "used" => used}) do
    %{
      name: name,
      title: title(name),
      current: Figure.count(count),
      limit: Figure.count(limit),
      # This is also the width of a bar.
      percent: :erlang.float_to_binary(min(used * 100.0, 100.0), decimals: 1)
    }
  end

  defp title(name), do: Map.get(@titles, name, name)

  @doc false
  # Returns the rows of a table as LiveDashboard wants them, and how many there are. `params` is what it has
  # read of the address of the page.
  @spec rows(t, table, %{search: String.t() | nil, sort_by: atom, sort_dir: :asc | :desc, limit: pos_integer | nil}) ::
          {[%{atom => String.t()}], non_neg_integer}
  def rows(reading, table, params), do: reading |> Map.fetch!(table) |> Rows.pick(params)
end
