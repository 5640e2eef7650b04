defmodule Penstock.Bench.Runner do
  @moduledoc false

  alias Penstock.Bench.Report

  @groups [
    Penstock.Bench.Acquire,
    Penstock.Bench.Refuse,
    Penstock.Bench.Spawn,
    Penstock.Bench.Tasks,
    Penstock.Bench.Supervisors,
    Penstock.Bench.WakeUp,
    Penstock.Bench.MassDeath,
    Penstock.Bench.Restart,
    Penstock.Bench.Memory,
    Penstock.Bench.Rate,
    Penstock.Bench.Keyed,
    Penstock.Bench.Gate,
    Penstock.Bench.Ping,
    Penstock.Bench.Web,
    Penstock.Bench.Listener,
    Penstock.Bench.Watched,
    Penstock.Bench.Mailbox
  ]

  # The budgets are for two cores. More schedulers would change the figures of the rows in which
  # processes die or are pinged.
  @schedulers 2

  def main(argv) do
    {rows, strict?} = argv |> parse() |> select(Enum.flat_map(@groups, & &1.rows()))

    if :erlang.system_info(:schedulers) < @schedulers,
      do: Mix.raise("the rows need #{@schedulers} schedulers, this VM has fewer")

    online = :erlang.system_flag(:schedulers_online, @schedulers)
    started = System.monotonic_time(:second)
    Report.header()

    verdicts = Enum.flat_map(rows, &run/1)

    :erlang.system_flag(:schedulers_online, online)
    missed = Enum.count(verdicts, &(&1 == :miss))
    passed = Enum.count(verdicts, &(&1 == :pass))
    IO.puts("\n#{passed} within budget, #{missed} missed, #{System.monotonic_time(:second) - started} s")

    if strict? and missed > 0, do: exit({:shutdown, 1})
  end

  defp parse(argv) do
    case OptionParser.parse(argv, strict: [only: :string, strict: :boolean]) do
      {options, [], []} ->
        options

      {_, rest, invalid} ->
        unknown = Enum.map_join(invalid, " ", &elem(&1, 0)) <> Enum.join(rest, " ")
        Mix.raise("usage: mix run bench/run.exs [--only B1,B4] [--strict] (not known: #{unknown})")
    end
  end

  defp select(options, rows) do
    known = rows |> Enum.map(& &1.id) |> Enum.uniq()
    wanted = options |> Keyword.get(:only, Enum.join(known, ",")) |> String.split(",", trim: true)

    case wanted -- known do
      [] -> {Enum.filter(rows, &(&1.id in wanted)), Keyword.get(options, :strict, false)}
      unknown -> Mix.raise("unknown row #{Enum.join(unknown, ", ")}, the rows are #{Enum.join(known, ", ")}")
    end
  end

  # Runs a row in a fresh process. This process owns the row's ETS tables, and is linked to the
  # row's pools and holders. So all of them end with the process.
  defp run(row) do
    parent = self()

    {pid, ref} =
      spawn_monitor(fn ->
        send(parent, {:verdicts, self(), measure(row)})
        exit(:shutdown)
      end)

    receive do
      {:DOWN, ^ref, :process, ^pid, :shutdown} ->
        receive do: ({:verdicts, ^pid, verdicts} -> verdicts)

      {:DOWN, ^ref, :process, ^pid, reason} ->
        Mix.raise("row #{row.id} (#{row.work}) failed: #{Exception.format_exit(reason)}")
    end
  end

  # Measures a row: one comparison, or two if the row has `or`.
  defp measure(row) do
    rows = [row | for(other <- List.wrap(row.or), do: struct!(row, other))]
    baselines = for row <- rows, do: row.baseline && row.baseline.()
    ours = row.ours.()

    for processes <- row.processes do
      sample_baselines = for baseline <- baselines, do: sample(row, baseline, processes)
      sample_ours = row.sampler.(ours, processes)
      rounds = for _ <- 1..row.rounds, do: {Enum.map(sample_baselines, & &1.()), sample_ours.()}

      rows
      |> Enum.with_index(fn row, at ->
        {%{row | budget: budget(row.budget, processes)}, for({theirs, ours} <- rounds, do: {Enum.at(theirs, at), ours})}
      end)
      |> Report.rows(processes)
    end
  end

  defp sample(_row, nil, _processes), do: fn -> nil end
  defp sample(row, baseline, processes), do: row.sampler.(baseline, processes)

  defp budget(%{} = by_processes, processes), do: Map.fetch!(by_processes, processes)
  defp budget(budget, _processes), do: budget
end
