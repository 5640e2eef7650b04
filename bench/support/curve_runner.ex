defmodule Penstock.Bench.CurveRunner do
  @moduledoc false

  alias Penstock.Bench.{CurveChild, CurveReport, Peer, Report}

  @groups [
    Penstock.Bench.Curves.Holders,
    Penstock.Bench.Curves.Keys,
    Penstock.Bench.Curves.Waiters,
    Penstock.Bench.Curves.Limits,
    Penstock.Bench.Curves.Schedulers
  ]

  # `--quick` shows that all curves work. Its figures mean little.
  @quick_size 1_000
  @quick_rounds 5

  # `modules` has the code of all modules that a sample needs, which a VM of a sample loads.
  def main(argv, modules) do
    options = parse(argv)
    curves = select(options, Enum.flat_map(@groups, & &1.curves()))
    csv = options[:csv]
    if csv, do: begin_csv(csv, curves)
    started = System.monotonic_time(:second)
    Report.machine()

    failed = Enum.flat_map(curves, &measure_all(&1, modules, options))
    IO.puts("\n#{System.monotonic_time(:second) - started} s")
    if failed != [], do: Mix.raise(Enum.join(["these failed:" | failed], "\n"))
  end

  # Keeps the lines of curves that are not measured in this run.
  defp begin_csv(csv, curves) do
    ids = for curve <- curves, do: curve.id

    kept =
      with {:ok, text} <- File.read(csv) do
        for line <- text |> String.split("\n", trim: true) |> tl(),
            hd(String.split(line, ",")) not in ids,
            do: line <> "\n"
      else
        {:error, :enoent} -> []
      end

    File.write!(csv, [CurveReport.csv_header() | kept])
  end

  # Measures a curve. Returns the messages of the sizes that failed.
  defp measure_all(curve, modules, options) do
    CurveReport.head(curve)
    measured = for size <- sizes(curve, options), do: measure(curve, size, modules, options)
    CurveReport.growth(for({:ok, figures} <- measured, do: figures))
    for {:error, message} <- measured, do: message
  end

  defp parse(argv) do
    case OptionParser.parse(argv, strict: [only: :string, csv: :string, quick: :boolean]) do
      {options, [], []} ->
        options

      {_, rest, invalid} ->
        unknown = Enum.map_join(invalid, " ", &elem(&1, 0)) <> Enum.join(rest, " ")

        Mix.raise(
          "usage: mix run bench/curves.exs [--only acquire,keys] [--quick] [--csv FILE] (not known: #{unknown})"
        )
    end
  end

  defp select(options, curves) do
    known = Enum.map(curves, & &1.id)
    wanted = options |> Keyword.get(:only, Enum.join(known, ",")) |> String.split(",", trim: true)

    case wanted -- known do
      [] -> Enum.filter(curves, &(&1.id in wanted))
      unknown -> Mix.raise("unknown curve #{Enum.join(unknown, ", ")}, the curves are #{Enum.join(known, ", ")}")
    end
  end

  defp sizes(curve, options) do
    if options[:quick], do: Enum.filter(curve.sizes, &(&1 <= @quick_size)), else: curve.sizes
  end

  defp measure(curve, size, modules, options) do
    rounds = if options[:quick], do: @quick_rounds, else: call(curve.rounds, size)
    ids = for {id, _side, _name} <- curve.series, do: id
    args = [curve.samplers, size, ids, rounds]

    with {:ok, rounds} <- Peer.run(modules, call(curve.flags, size), CurveChild, :measure, args) do
      figures = CurveReport.figures(curve, size, rounds)
      CurveReport.row(figures)
      if options[:csv], do: File.write!(options[:csv], CurveReport.csv(figures), [:append])
      {:ok, figures}
    else
      {:error, message} -> {:error, "#{curve.id} at #{size}: #{message}"}
    end
  end

  defp call({module, function}, size), do: apply(module, function, [size])
end
