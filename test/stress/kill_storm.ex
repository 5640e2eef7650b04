defmodule Penstock.Stress.KillStorm do
  # Kills processes at random instants, in rounds. After each round the counts of the pool must
  # match the permits of the survivors.
  @moduledoc false

  alias Penstock.Stress.{Crashes, Keeper, Killer, Round, Survivors, Tally}

  @kills_a_round 4_000

  # Runs rounds from number 0 on, until `kills` processes were killed.
  def run(seed, kills), do: run(seed, Stream.iterate(0, &(&1 + 1)), kills)

  # Runs one round `times` times.
  def replay(seed, round, times), do: run(seed, List.duplicate(round, times), :infinity)

  defp run(seed, rounds, kills) do
    tally = Tally.new()

    failure =
      rounds
      |> Stream.with_index()
      |> Stream.take_while(fn _ -> Tally.total(tally) < kills end)
      |> Enum.find_value(fn {round, n} ->
        if rem(n, 25) == 0, do: IO.puts("  round #{round}: #{Tally.total(tally)} kills so far")

        case Round.run(fn -> round(seed, round, tally) end) do
          :ok -> nil
          {:error, problem} -> {:error, {:round, round, problem}}
        end
      end)

    spread = Tally.report(tally)
    failure || spread
  end

  defp round(seed, round, tally) do
    :rand.seed(:exsss, {seed, round, 0})
    limit = Enum.random([1, 2, 5, 8, 20, 100])
    max_waiting = Enum.random([0, 3, 1_000])
    # The pool of each round has the same name. So each round also tests the reuse of the pool
    # that the round before has closed.
    pool = __MODULE__.Pool
    keeper = Keeper.start(name: pool, limit: limit, max_waiting: max_waiting)

    shared = %{
      pool: pool,
      stop: :atomics.new(1, []),
      peers: :ets.new(:peers, [:public, :set, read_concurrency: true]),
      kids: :ets.new(:kids, [:public, :set, write_concurrency: true]),
      tally: tally
    }

    Killer.storm(shared, keeper, @kills_a_round)
    :atomics.put(shared.stop, 1, 1)

    with :ok <- Survivors.check(shared, limit),
         :ok <- Crashes.check() do
      for {_slot, pid, _me} <- :ets.tab2list(shared.peers), do: Process.exit(pid, :kill)
      Keeper.stop(keeper)
    end
  end
end
