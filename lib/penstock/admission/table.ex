defmodule Penstock.Admission.Table do
  # Formats gates as a table of text, for `Penstock.table/0`. Runs in the caller.
  @moduledoc false

  @spec format([map]) :: iodata
  def format([]), do: "no gate is running\n"

  def format(gates) do
    rows = [["name", "kind", "status", ""] | Enum.map(gates, &row/1)]
    widths = for column <- 0..2, do: rows |> Enum.map(&String.length(Enum.at(&1, column))) |> Enum.max()

    for row <- rows do
      cells = for {cell, width} <- Enum.zip(row, widths), do: [String.pad_trailing(cell, width), "  "]
      [String.trim_trailing(IO.iodata_to_binary([cells, List.last(row)])), "\n"]
    end
  end

  defp row(%{kind: :pool} = gate) do
    overdraft = if gate.overdraft > 0, do: ", overdraft #{gate.overdraft}", else: ""

    figures =
      "#{gate.in_use} of #{limit(gate.limit)} in use#{overdraft}, #{gate.waiting} waiting, #{gate.rejected} rejected"

    [inspect(gate.name), "pool", "#{gate.status}", figures]
  end

  defp row(%{kind: :keyed_pool} = gate) do
    figures =
      "#{gate.limit} for each key, #{gate.in_use} in use by #{gate.keys} of #{gate.max_keys} keys, " <>
        "#{gate.waiting} waiting, #{gate.rejected} rejected"

    [inspect(gate.name), "keyed_pool", "#{gate.status}", figures]
  end

  defp row(%{kind: :gate} = gate) do
    rejected = gate.rejected |> Map.values() |> Enum.sum()
    figures = "#{length(gate.limits)} limits, #{gate.admitted} admitted, #{rejected} rejected"
    [inspect(gate.name), "gate", "#{gate.status}", figures]
  end

  defp row(%{kind: :rate_limiter} = gate) do
    rate = "#{gate.limit} per #{gate.per} ms, burst #{gate.burst}"

    [
      inspect(gate.name),
      "rate_limiter",
      "open",
      "#{rate}, #{gate.keys} keys, #{gate.allowed} allowed, #{gate.denied} denied"
    ]
  end

  defp row(%{kind: :ban} = gate) do
    [inspect(gate.name), "ban", "open", "#{gate.bans} banned, #{gate.failures} failures within #{gate.within} ms ban"]
  end

  defp limit(:infinity), do: "infinity"
  defp limit(limit), do: "#{limit}"
end
