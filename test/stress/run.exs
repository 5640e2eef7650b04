# Storms and soaks: `script/stress`, or `mix run test/stress/run.exs [--seed N] [--kills N] [--asks N] [--only a,b]`.
#
# The seed decides what every process does and who is killed; when that happens to fall is the schedulers' affair, so
# a failing seed is worth running several times.

for file <- ~w(worker kill_storm asker), do: Code.require_file("#{file}.ex", __DIR__)

alias Penstock.Stress.{Asker, KillStorm}

{opts, rest, invalid} =
  OptionParser.parse(System.argv(),
    strict: [seed: :integer, kills: :integer, asks: :integer, only: :string]
  )

parts = [:storm, :try_1, :try_8, :acquire_100, :mass_death]

only =
  case opts[:only] do
    nil -> parts
    names -> names |> String.split(",") |> Enum.map(&Enum.find(parts, &1, fn part -> "#{part}" == &1 end))
  end

if rest != [] or invalid != [] or nil in only do
  IO.puts(:stderr, "usage: --seed N --kills N --asks N --only #{Enum.join(parts, ",")}")
  System.halt(2)
end

seed = opts[:seed] || :rand.uniform(1_000_000_000)
kills = opts[:kills] || 1_000_000
asks = opts[:asks] || 100_000

IO.puts("penstock stress on OTP #{System.otp_release()}, Elixir #{System.version()}, seed #{seed}")

results =
  for part <- only do
    {micros, result} =
      :timer.tc(fn ->
        case part do
          :storm -> KillStorm.run(seed, kills)
          :mass_death -> KillStorm.mass_death(100_000)
          part -> Asker.run(part, asks)
        end
      end)

    IO.puts("#{part}: #{inspect(result)} in #{Float.round(micros / 1_000_000, 1)} s")
    match?({:ok, _}, result)
  end

longest =
  case Penstock.Native.longest_call() do
    nil ->
      IO.puts("longest NIF call: not measured (build with PENSTOCK_NIF_FEATURES=meter)")
      true

    {name, ns} ->
      # A virtual machine's host takes time that counts as the thread's. So, for half a minute, the same clock around
      # next to nothing: what that shows is not the NIF's doing.
      stop = System.monotonic_time(:second) + 30
      calls = Stream.repeatedly(&Penstock.Native.control_call/0)
      control = calls |> Stream.take_while(fn _ -> System.monotonic_time(:second) < stop end) |> Enum.max()

      verdict =
        cond do
          ns <= 1_000_000 -> "within 1000 µs"
          ns <= control -> "beyond 1000 µs, but so is a call that does nothing on this machine"
          true -> "BEYOND 1000 µs"
        end

      IO.puts("longest NIF call: #{name}, #{div(ns, 1_000)} µs of thread CPU time: #{verdict}")
      IO.puts("longest call that does nothing: #{div(control, 1_000)} µs")
      ns <= 1_000_000 or ns <= control
  end

if Enum.all?(results) and longest do
  IO.puts("stress passed")
else
  IO.puts("stress FAILED; again with --seed #{seed}")
  System.halt(1)
end
