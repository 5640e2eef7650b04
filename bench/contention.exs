# Predicts how operations scale with the number of cores, from the cache lines that they share and
# the measured cost of moving a line, and checks the prediction for one core and two:
#
#     mix run bench/contention.exs [--quick] [--strict]
#
# With --strict the exit status is 1 if a prediction for two cores is off by more than a third.
# bench/README.md explains the model.

for file <- ~w(
      support/loop.ex
      support/stats.ex
      support/report.ex
      contention/cache_line.ex
      contention/operations.ex
      contention/simulation.ex
    ) do
  Code.require_file(file, __DIR__)
end

defmodule Penstock.Bench.Contention do
  @moduledoc false

  alias Penstock.Bench.Contention.{CacheLine, Operations, Simulation}
  alias Penstock.Bench.{Loop, Report, Stats}

  @rounds 61
  # While one of two processes does not run, the other one has no contention.
  @sample_ns 1_000_000
  @least_shared 0.8
  @quick_rounds 5
  @cores [4, 8, 16, 32, 64]
  @most List.last(@cores)
  # The factor by which a transfer may be slower on a larger machine, between parts of a processor
  # or between processors. It is an assumption.
  @farther 4
  # The largest error of a prediction for two cores, as a part of the measured time.
  @tolerance 1 / 3
  # Times of work that a permit is held for, in ns.
  @works for n <- 0..8, do: 250 * 2 ** n
  # The part of the throughput without any contention that must remain.
  @efficiency 0.9

  def main(argv) do
    {options, [], []} = OptionParser.parse(argv, strict: [quick: :boolean, strict: :boolean])
    :erlang.system_flag(:schedulers_online, 2)
    Report.machine()
    costs = CacheLine.costs()
    transfer = costs["moved_add"]

    IO.puts("""

    a write to a line that the other core wrote last: #{ns(transfer)} more than to an own line
    a load and a compare-and-swap of such a line: #{ns(costs["moved_cas"])} more
    from a store on one core to a load on the other: #{ns(costs["one_way"])}

    ns for an operation: measured by one process and by two at once, and predicted for two
    """)

    rounds = if options[:quick], do: @quick_rounds, else: @rounds
    predicted = for operation <- Operations.all(), do: check(operation, transfer, rounds)

    IO.puts("\nmillions of operations per second, predicted, by the number of cores; x#{@farther}: if a transfer takes")

    IO.puts(
      "#{@farther} times as long; work: the least work for a permit by which #{@most} cores lose less than a tenth"
    )

    IO.puts(line(["" | Enum.map(@cores, &to_string/1)] ++ ["#{@most} x#{@farther}", "work", "work x#{@farther}"]))
    for {operation, alone, _ok} <- predicted, do: scaled(operation, alone, transfer)
    if options[:strict] && Enum.any?(predicted, &(not elem(&1, 2))), do: exit({:shutdown, 1})
  end

  # Measures an operation by one process and by two, in turn.
  defp check(operation, transfer, rounds) do
    fun = operation.prepare.()

    samplers =
      for processes <- [1, 2], do: Loop.sampler(fun, processes, @sample_ns, least_shared: @least_shared, bound: true)

    samples = for _ <- 1..rounds, do: Enum.map(samplers, & &1.())
    [alone, two] = for at <- 0..1, do: Stats.median(Enum.map(samples, &Enum.at(&1, at)))
    predicted = 1 / Simulation.throughput(operation.accesses, alone, transfer, 2)
    off = (predicted - two) / two
    verdict = if abs(off) <= @tolerance, do: "", else: " OFF"
    IO.puts("#{operation.name}. Lines shared: #{operation.lines}")
    IO.puts("    one #{ns(alone)}, two #{ns(two)}, predicted for two #{ns(predicted)} (#{percent(off)})#{verdict}")
    {operation, alone, abs(off) <= @tolerance}
  rescue
    error in RuntimeError ->
      IO.puts("#{operation.name}: #{Exception.message(error)}")
      {operation, nil, false}
  end

  defp scaled(operation, nil, _transfer), do: IO.puts("#{operation.name}: not measured")

  defp scaled(operation, alone, transfer) do
    by_cores = for cores <- @cores, do: millions(operation, alone, transfer, cores)
    farther = millions(operation, alone, transfer * @farther, @most)
    works = for factor <- [1, @farther], do: least_work(operation, alone, transfer * factor)
    IO.puts(line([operation.name | by_cores] ++ [farther | works]))
  end

  defp millions(operation, alone, transfer, cores),
    do: fixed(1_000 * Simulation.throughput(operation.accesses, alone, transfer, cores), 1)

  # Returns the least work for each operation by which the cores lose little to contention.
  defp least_work(operation, alone, transfer) do
    enough? = fn work ->
      ideal = @most / (alone + work)
      Simulation.throughput(operation.accesses, alone + work, transfer, @most) >= @efficiency * ideal
    end

    case Enum.find(@works, enough?) do
      nil -> "more"
      work -> "#{fixed(work / 1_000, 2)} µs"
    end
  end

  defp line([first | cells]) do
    Enum.join([String.pad_trailing(first, 46) | Enum.map(cells, &String.pad_leading(&1, 9))], " ")
  end

  defp ns(ns), do: "#{fixed(ns, 1)} ns"
  defp percent(part), do: "#{if part >= 0, do: "+"}#{round(100 * part)} %"
  defp fixed(number, decimals), do: :erlang.float_to_binary(number / 1, decimals: decimals)
end

Penstock.Bench.Contention.main(System.argv())
