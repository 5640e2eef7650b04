defmodule Penstock.Dashboard.Live.Rows do
  # The rows of the tables of the page of LiveDashboard: their order, and which ones a search finds.
  @moduledoc false

  alias Penstock.Top.Figure
  alias Penstock.View.{State, Verdict}

  @typedoc "The texts of a row, by column, and the value by which each column orders that has another order."
  @type row :: %{texts: %{atom => String.t()}, order: %{atom => term}}

  @ranks Map.new(Verdict.states(), &{Atom.to_string(&1), Verdict.rank(&1)})

  # Comes before all figures.
  @unknown -1

  @doc false
  # Takes the gates of `Penstock.View.State`.
  @spec gates([map]) :: [row]
  def gates(gates), do: Enum.map(gates, &gate/1)

  defp gate(gate) do
    %{
      texts: %{
        gate: visible(gate["id"]),
        kind: String.replace(gate["kind"], "_", " "),
        state: gate["state"],
        why: gate["why"] || "",
        used: used(gate),
        waiting: if(gate["waiting"], do: Figure.count(gate["waiting"]), else: ""),
        # A ban list counts no admissions.
        admitted: if(gate["kind"] == "ban", do: "", else: Figure.rate(gate["admitted_s"])),
        refused: Figure.rate(gate["refused_s"])
      },
      order: %{
        state: {Map.fetch!(@ranks, gate["state"]), -(gate["refused_s"] || 0)},
        used: gate["used"] || @unknown,
        waiting: gate["waiting"] || @unknown,
        admitted: gate["admitted_s"] || @unknown,
        refused: gate["refused_s"] || @unknown
      }
    }
  end

  # The permits of a pool, the bans of a list, or the keys of a keyed pool or limiter. A gate of several
  # limits has none of its own.
  defp used(%{"kind" => kind, "in_use" => in_use, "limit" => limit}) when kind in ["pool", "ban"],
    do: share(in_use, limit)

  defp used(%{"figures" => figures}) do
    figures = for [label, value] <- figures, into: %{}, do: {label, value}

    case figures do
      %{"keys" => keys, "places for keys" => places} -> share(keys, places) <> " keys"
      _no_keys -> ""
    end
  end

  # An unlimited pool has no limit.
  defp share(in_use, nil), do: Figure.count(in_use)
  defp share(in_use, limit), do: "#{Figure.count(in_use)} / #{Figure.count(limit)}"

  @doc false
  # Takes the holders of a `Penstock.View.Report`.
  @spec holders([map]) :: [row]
  def holders(holders) do
    for holder <- holders do
      %{
        texts: %{
          held_for: Figure.time(holder.held_ms),
          gate: name(holder.gate),
          pid: holder.pid,
          permits: Figure.count(holder.permits)
        },
        order: %{held_for: holder.held_ms}
      }
    end
  end

  @doc false
  # Takes the keys of a `Penstock.View.Report`.
  @spec keys([map]) :: [row]
  def keys(keys) do
    for key <- keys do
      %{
        texts: %{
          key_permits: Figure.count(key.permits),
          gate: name(key.gate),
          key: visible(key.key),
          key_waiting: Figure.count(key.waiting)
        },
        order: %{key_permits: key.permits}
      }
    end
  end

  @doc false
  # Takes the bans of a `Penstock.View.Report`.
  @spec bans([map]) :: [row]
  def bans(bans) do
    for ban <- bans do
      %{
        texts: %{
          ends_in: Figure.time(ban.until_ms),
          gate: name(ban.gate),
          key: visible(ban.key),
          reason: visible(ban.reason),
          level: Figure.count(ban.level)
        },
        # An atom comes after all numbers, so a ban without end ends last.
        order: %{ends_in: ban.until_ms}
      }
    end
  end

  defp name(name), do: name |> State.id() |> visible()

  # HEEx escapes the text for HTML. This shows characters that no reader sees, or that turn the text
  # around.
  defp visible(text) do
    Regex.replace(
      ~r/[\x{AD}\x{61C}\x{200B}-\x{200F}\x{2028}-\x{202E}\x{2060}-\x{2069}\x{FEFF}]/u,
      text,
      fn <<character::utf8>> -> "\\u" <> String.pad_leading(Integer.to_string(character, 16), 4, "0") end
    )
  end

  @doc false
  # Returns the texts of the rows that match the search, in the order and up to the limit that are asked
  # for, and the number of those that match.
  @spec pick([row], map) :: {[%{atom => String.t()}], non_neg_integer}
  def pick(rows, %{search: search, sort_by: column, sort_dir: direction, limit: limit}) do
    found = Enum.filter(rows, &found?(&1, search))
    sorted = Enum.sort_by(found, &value(&1, column), direction)
    {sorted |> take(limit) |> Enum.map(& &1.texts), length(found)}
  end

  defp value(%{texts: texts, order: order}, column), do: Map.get(order, column, texts[column])

  defp take(rows, nil), do: rows
  defp take(rows, limit), do: Enum.take(rows, limit)

  defp found?(_row, nil), do: true

  defp found?(%{texts: texts}, search) do
    wanted = String.downcase(search)
    Enum.any?(texts, fn {_column, text} -> text |> String.downcase() |> String.contains?(wanted) end)
  end
end
