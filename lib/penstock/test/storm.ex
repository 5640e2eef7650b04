defmodule Penstock.Test.Storm do
  # Kills the processes of a function at random: `Penstock.Test.kill_storm/2`.
  #
  # A process of its own, the stage, runs the rounds, each in a further process. The stage is the
  # traced one, so all that the rounds create is its family. The stage itself is never killed.
  #
  # The seed decides how long the test waits before each kill, and which of the living processes, in
  # the order of their creation, it kills. It does not decide how the VM schedules them.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.Test.{Census, ExUnit, Gates, Patience, Places, Tracer}

  @rounds 100
  @interval_ms 1
  @within_ms 5_000

  # How often the test lets other processes run in a short wait, at most.
  @most_yields 100

  # Marks the exit reason of a round that raised.
  @raised :penstock_storm_raised

  @spec run(Penstock.work(term), keyword) :: Penstock.Test.storm()
  def run(fun, opts) do
    ExUnit.ensure!("kill_storm")
    Options.fun!(fun)
    opts = Options.known!(opts, [:seed, :rounds, :interval, :within, :gates])
    seed = integer!(Keyword.get_lazy(opts, :seed, &ExUnit.seed/0), ":seed", 0)
    rounds = integer!(Keyword.get(opts, :rounds, @rounds), ":rounds", 1)
    interval = integer!(Keyword.get(opts, :interval, @interval_ms), ":interval", 0)
    within = integer!(Keyword.get(opts, :within, @within_ms), ":within", 0)
    named = Gates.named!(opts[:gates])
    before = Gates.now(named)
    IO.puts("kill_storm: seed: #{seed}")

    test = self()
    chain = [test | Process.get(:"$callers") || []]
    {stage, monitor} = spawn_monitor(fn -> stage(test, chain, fun) end)
    tracer = Tracer.start(stage, fun, "kill_storm")
    storm = %{stage: stage, monitor: monitor, tracer: tracer, interval: interval}

    case rounds(rounds, storm, 0, :rand.seed_s(:exsss, seed)) do
      {:raised, kind, reason, stack} ->
        finish(storm)
        :erlang.raise(kind, reason, stack)

      {kills, _random} ->
        left = differences(storm, before, named, Patience.deadline(within))
        finish(storm)
        if left != [], do: ExUnit.fail!(message(left, seed, kills, within))
        %{seed: seed, rounds: rounds, kills: kills}
    end
  end

  defp integer!(value, _name, least) when is_integer(value) and value >= least and value <= 0x7FFF_FFFF, do: value
  defp integer!(other, name, least), do: Options.expected!(name, "an integer between #{least} and 2147483647", other)

  # A round ends when its process does.
  defp stage(test, chain, fun) do
    monitor = Process.monitor(test)

    receive do
      {:round, ^test} ->
        {runner, runs} = spawn_monitor(fn -> perform(chain, fun) end)
        send(test, {:round_runs, self(), runner})

        receive do
          {:DOWN, ^runs, :process, ^runner, reason} -> send(test, {:round_over, self(), reason})
          {:DOWN, ^monitor, :process, ^test, _reason} -> Process.exit(runner, :kill)
        end

        Process.demonitor(monitor, [:flush])
        stage(test, chain, fun)

      {:DOWN, ^monitor, :process, ^test, _reason} ->
        :ok
    end
  end

  # The exit of a raw process logs nothing, as an exception would.
  defp perform(chain, fun) do
    Process.put(:"$callers", chain)
    fun.()
  catch
    kind, reason -> exit({@raised, kind, reason, __STACKTRACE__})
  end

  defp rounds(0, _storm, kills, random), do: {kills, random}

  defp rounds(left, %{stage: stage, monitor: monitor} = storm, kills, random) do
    since = System.monotonic_time(:nanosecond)
    send(stage, {:round, self()})

    receive do
      {:round_runs, ^stage, runner} ->
        storm = Map.merge(storm, %{since: since, runner: runner})
        with {kills, random} <- round(storm, kills, kills, random), do: rounds(left - 1, storm, kills, random)

      {:DOWN, ^monitor, :process, ^stage, reason} ->
        exit({reason, {__MODULE__, :run, []}})
    end
  end

  defp round(%{stage: stage, monitor: monitor} = storm, before, kills, random) do
    {ms, random} = pause(storm.interval, random)

    receive do
      {:round_over, ^stage, {@raised, kind, reason, stack}} when kills == before -> {:raised, kind, reason, stack}
      {:round_over, ^stage, reason} when kills == before and reason != :normal -> {:raised, :exit, reason, []}
      {:round_over, ^stage, _reason} -> {kills, random}
      {:DOWN, ^monitor, :process, ^stage, reason} -> exit({reason, {__MODULE__, :run, []}})
    after
      ms ->
        {killed, random} = storm |> victims() |> kill(random)
        round(storm, before, kills + killed, random)
    end
  end

  # Processes that earlier rounds have left are not killed, nor those of this round once its function has
  # ended. So the gates show at the end what these hold.
  defp victims(%{tracer: tracer, since: since, runner: runner}) do
    living = Tracer.living(tracer, since)
    if Process.alive?(runner), do: living, else: []
  end

  # Half of the waits are shorter than the VM's timers can be, so that short functions are met too.
  defp pause(interval, random) do
    case :rand.uniform_s(2, random) do
      {1, random} -> yields(random)
      {2, random} -> spread(interval, random)
    end
  end

  defp yields(random) do
    {n, random} = :rand.uniform_s(@most_yields, random)
    for _ <- 1..n, do: :erlang.yield()
    {0, random}
  end

  defp spread(interval, random) do
    {n, random} = :rand.uniform_s(2 * interval + 1, random)
    {n - 1, random}
  end

  defp kill([], random), do: {0, random}

  defp kill(living, random) do
    {n, random} = :rand.uniform_s(length(living), random)
    Process.exit(Enum.at(living, n - 1), :kill)
    {1, random}
  end

  defp differences(%{tracer: tracer}, before, named, deadline) do
    check = fn ->
      census = Tracer.census(tracer)
      family = Map.new(for({pid, _born, _died} <- Census.family(census), do: {pid, true}))
      Gates.differences(before, named, &is_map_key(family, &1), &Places.place(census, &1))
    end

    Patience.until_empty(check, deadline)
  end

  # Kills the processes that the function has left, so that no other test meets them.
  defp finish(%{tracer: tracer, stage: stage, monitor: monitor}) do
    left = tracer |> Tracer.stop() |> Census.living()
    monitors = for pid <- [stage | left], do: {pid, Process.monitor(pid)}
    for {pid, _monitor} <- monitors, do: Process.exit(pid, :kill)
    for {pid, down} <- monitors, do: receive(do: ({:DOWN, ^down, :process, ^pid, _reason} -> :ok))
    Process.demonitor(monitor, [:flush])
  end

  defp message(left, seed, kills, within) do
    lines = for text <- left, do: "  * #{String.replace(text, "\n", "\n    ")}\n"

    ms = Places.digits(within)

    """
    expected all gates to be back where they were within #{ms} ms after #{Places.digits(kills)} kills:

    #{lines}
    To repeat the kills: kill_storm(fun, seed: #{seed})
    """
  end
end
