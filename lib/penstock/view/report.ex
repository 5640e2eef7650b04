defmodule Penstock.View.Report do
  # Makes all that a page about this node shows, on this node, for a viewer that may be on another
  # node and may run another version of Penstock.
  #
  # The result is bounded: `Penstock.View.Snapshot` bounds the gates, the viewer asks for at most
  # @most_rows rows of each list, and pids, keys and reasons are texts of bounded size.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.View.{Key, Snapshot}

  # The version of the form of a report. A change of the form, or of a snapshot, needs the next number.
  @contract 1

  @most_rows 200

  # Holders are listed for these many pools at most: those with most holders. A pool lists up to
  # 1_000 holders, so this bounds the memory of a report.
  @most_listed 50

  @typedoc "How many rows of each list the viewer shows."
  @type sizes :: %{holders: non_neg_integer, keys: non_neg_integer, bans: non_neg_integer}

  @typedoc "A list is nil if the viewer has asked for no row of it."
  @type t :: %{
          version: String.t(),
          snapshot: Snapshot.t(),
          holders: [%{gate: atom, pid: String.t(), permits: pos_integer, held_ms: non_neg_integer}] | nil,
          keys: [%{gate: atom, key: String.t(), permits: non_neg_integer, waiting: non_neg_integer}] | nil,
          bans:
            [
              %{
                gate: atom,
                key: String.t(),
                until_ms: pos_integer | :infinity,
                reason: String.t(),
                level: non_neg_integer
              }
            ]
            | nil
        }

  @spec contract() :: pos_integer
  def contract, do: @contract

  # Returns the report, or the contract and the version of Penstock on this node if the viewer has
  # another contract. The viewer may be on another node: it calls this by its name.
  @spec take(pos_integer, sizes) :: {:ok, t} | {:other_contract, pos_integer, String.t()}
  def take(@contract, sizes) do
    snapshot = Snapshot.take()

    {:ok,
     %{
       version: Snapshot.version(),
       snapshot: snapshot,
       holders: rows(sizes.holders, &holders(snapshot, &1)),
       keys: rows(sizes.keys, &keys(snapshot, &1)),
       bans: rows(sizes.bans, &bans(snapshot, &1))
     }}
  end

  def take(_contract, _sizes), do: {:other_contract, @contract, Snapshot.version()}

  # A list costs a walk through its gates, so a list that is not shown is not read.
  defp rows(n, read) when n > 0, do: n |> min(@most_rows) |> read.()
  defp rows(_none, _read), do: nil

  defp holders(snapshot, n) do
    pools = for %{kind: :pool, info: %{holders: holders}} = gate when holders > 0 <- snapshot.gates, do: gate
    most = pools |> Enum.sort_by(& &1.info.holders, :desc) |> Enum.take(@most_listed)
    for row <- Snapshot.holders(%{snapshot | gates: most}, n), do: %{row | pid: inspect(row.pid)}
  end

  defp keys(snapshot, n) do
    for row <- Snapshot.keys(snapshot, n), do: %{row | key: Key.show(row.key)}
  end

  defp bans(snapshot, n) do
    for row <- Snapshot.bans(snapshot, n),
        do: %{row | key: Key.show(row.key), reason: Options.show(row.reason)}
  end
end
