# Runs a soak. script/soak calls this:
#
#     mix run test/stress/soak.exs [--seconds N] [--seed N]

{:ok, _, _} = Kernel.ParallelCompiler.require(Path.wildcard("#{__DIR__}/**/*.ex"))

alias Penstock.Stress.{Crashes, Soak}

{opts, rest, invalid} = OptionParser.parse(System.argv(), strict: [seconds: :integer, seed: :integer])

if rest != [] or invalid != [] do
  IO.puts(:stderr, "usage: --seconds N --seed N")
  System.halt(2)
end

seed = opts[:seed] || :rand.uniform(1_000_000_000)
IO.puts("penstock soak on OTP #{System.otp_release()}, Elixir #{System.version()}, seed #{seed}")
Crashes.watch()
# By default SIGTERM ends the VM with the status 0, as if the soak had passed.
:os.set_signal(:sigterm, :default)

case Soak.run(seed, opts[:seconds] || 600) do
  {:ok, rests} ->
    IO.puts("soak passed, #{inspect(rests)} rests")

  {:error, problem} ->
    IO.inspect(problem, limit: 200)
    IO.puts("soak FAILED, with seed #{seed}")
    System.halt(1)
end
