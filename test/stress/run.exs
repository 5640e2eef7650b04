# Runs the stress tests. script/stress calls this:
#
#     mix run test/stress/run.exs [--only PART,PART] [--seed N] [--kills N] [--asks N]
#                                 [--seconds N] [--round N [--times N]]
#     mix run test/stress/run.exs --hostile [--seconds N] [--no-shared] [--skip NAME,NAME]
#                                 [--seed N]
#
# --hostile runs the fuzzer alone, for ten minutes by default. --no-shared leaves out terms that
# share their parts; --skip leaves out functions of these names, to tell one fault from another.
#
# --kills N is the number of kills of `storm`, by default a million. It also sets the size of:
#
#   * `stream_storm`, `keyed_storm`: N / 10 kills
#   * `shared_streams`: N items
#   * `gate_storm`: N decisions
#   * `gate_order`: N / 10 rounds
#   * `mailbox_storm`: N × 5 messages
#   * `start_storm`: N / 100 kills of each of four kinds of process
#   * `crash_storm`: N / 16,667 seconds, which is a minute for a million
#   * `first_hits`: N / 10 keys
#   * `pace`: N / 100 ms for each rate
#   * `flood`: N × 10 keys
#
# --asks N is the number of tries in `try_1`, `try_8` and `acquire_100`, by default 100,000.
#
# --seconds N without --hostile is the length of `monitored_by` and of `calm`, by default a minute.
#
# The seed decides the operations of every process, and the victims. The schedulers decide the
# instants. So a failing round may pass the next time: run it many times, by --round and --times.

{:ok, _, _} = Kernel.ParallelCompiler.require(Path.wildcard("#{__DIR__}/*.ex"))

alias Penstock.Stress.{Asker, Calm, Crashes, CrashStorm, GateOrder, GateStorm, Hostile, KeyedStorm}
alias Penstock.Stress.{KillStorm, MailboxDeath, MailboxStorm, MassCrash, MassDeath, Meter, MonitoredBy}
alias Penstock.Stress.{Rates, SharedStreams, SpawnBomb, StartStorm, StreamStorm}

{opts, rest, invalid} =
  OptionParser.parse(System.argv(),
    strict:
      [only: :string, seed: :integer, kills: :integer, asks: :integer, round: :integer, times: :integer] ++
        [hostile: :boolean, seconds: :integer, shared: :boolean, skip: :string]
  )

parts =
  [:storm, :try_1, :try_8, :acquire_100, :mass_death, :stream_storm, :shared_streams] ++
    [
      :keyed_storm,
      :gate_storm,
      :gate_order,
      :mailbox_storm,
      :mailbox_death,
      :start_storm,
      :mass_crash,
      :crash_storm,
      :first_hits
    ] ++
    [:pace, :flood, :monitored_by, :spawn_bomb, :calm]

only =
  cond do
    opts[:round] -> [:storm]
    opts[:hostile] -> [:hostile]
    opts[:only] -> for name <- String.split(opts[:only], ","), do: Enum.find(parts, &("#{&1}" == name))
    true -> parts
  end

if rest != [] or invalid != [] or nil in only do
  IO.puts(:stderr, """
  usage: --only #{Enum.join(parts, ",")} --skip PARTS --hostile --no-shared
         --seed N --kills N --asks N --seconds N --round N --times N
  """)

  System.halt(2)
end

seed = opts[:seed] || :rand.uniform(1_000_000_000)
kills = opts[:kills] || 1_000_000
asks = opts[:asks] || 100_000
round = opts[:round]
skip = String.split(opts[:skip] || "", ",", trim: true)
metered? = Penstock.Native.metered() != nil
build = if metered?, do: "metered", else: "ordinary"

IO.puts(
  "penstock stress of the #{build} build on OTP #{System.otp_release()}, Elixir #{System.version()}, seed #{seed}"
)

# Fuzzers crash all the time. The processes of the library that serve all fuzzers must never
# crash.
Crashes.watch(if opts[:hostile], do: [Penstock.Node.Janitor, Penstock.Node.Reaper, Penstock.Node.Owner])

results =
  for part <- only do
    {micros, result} =
      :timer.tc(fn ->
        case part do
          :storm when is_integer(round) -> KillStorm.replay(seed, round, opts[:times] || 1)
          :storm -> KillStorm.run(seed, kills)
          :mass_death -> MassDeath.run(100_000)
          :stream_storm -> StreamStorm.run(seed, div(kills, 10))
          :keyed_storm -> KeyedStorm.run(seed, div(kills, 10))
          :gate_storm -> GateStorm.run(seed, kills)
          :mailbox_death -> MailboxDeath.run(100, metered?)
          :mailbox_storm -> MailboxStorm.run(seed, kills * 5)
          :gate_order -> GateOrder.run(div(kills, 10))
          :shared_streams -> SharedStreams.run(kills)
          :start_storm -> StartStorm.run(seed, div(kills, 100))
          :mass_crash -> MassCrash.run(20)
          :crash_storm -> CrashStorm.run(div(kills, 16_667))
          :first_hits -> Rates.first_hits(div(kills, 10))
          :pace -> Rates.pace(div(kills, 100), metered?)
          :flood -> Rates.flood(kills * 10)
          :hostile -> Hostile.run(seed, opts[:seconds] || 600, opts[:shared] != false, skip)
          :calm -> Calm.run(opts[:seconds] || 60)
          :spawn_bomb -> SpawnBomb.run()
          :monitored_by -> MonitoredBy.run(opts[:seconds] || 60)
          part -> Asker.run(part, asks)
        end
      end)

    IO.puts("#{part}: #{inspect(result)} in #{Float.round(micros / 1_000_000, 1)} s")

    with {:error, {:round, round, _problem}} <- result do
      IO.puts("again: script/stress #{build} --seed #{seed} --round #{round} --times 20")
    end

    match?({:ok, _}, result)
  end

calls_short? = Meter.report()

if Enum.all?(results) and calls_short? and Crashes.check() == :ok do
  IO.puts("stress passed")
else
  IO.puts("stress FAILED, with seed #{seed}")
  System.halt(1)
end
