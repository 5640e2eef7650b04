# A node with gates of each kind under load, and a flood of processes, for the check of Prometheus.
#
#     elixir --erl "+P 65536" -S mix run flood.exs DIRECTORY
#
# Serves the metrics by a dashboard at a free port, and writes the port into the file `port` of the
# directory. Fills the table of processes to 72 % at once. Begins to fill the rest, at half a
# percent a second, when the file `go` is there. Ends at 93 %, or with its input.
alias Penstock.{Ban, Dashboard, Gate, KeyedPool, Pool, RateLimiter}

[directory] = System.argv()

children = [
  {Pool, name: Flood.Jobs, limit: 20, max_waiting: 10, held_longer_than: 50},
  {Pool, name: Flood.Refusing, limit: 1},
  {Pool, name: Flood.Slow, limit: 5},
  {Pool, name: :"Flood \"\\\n<script>", limit: :infinity},
  {KeyedPool, name: Flood.PerUser, limit: 2, max_keys: 100},
  {RateLimiter, name: Flood.Api, limit: 10, per: 1_000, max_keys: 100},
  {Ban, name: Flood.Bans, failures: 1, max_keys: 100, max_bans: 20},
  {Gate, name: Flood.Uploads, limits: [Flood.Bans, Flood.Api, Flood.PerUser], shed_at: :high},
  {Dashboard, port: 0, name: Flood.Dashboard}
]

{:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)
port = Dashboard.port(Flood.Dashboard)

# Callers that use, overload and abuse the gates.
pause = fn ms -> receive(do: (:never -> :ok), after: (ms -> :ok)) end

work = fn n ->
  Penstock.run(Flood.Jobs, fn -> pause.(30 + rem(n, 50)) end, timeout: 100)
  Penstock.run(Flood.Refusing, fn -> pause.(5) end, timeout: 0)
  Penstock.run(Flood.Uploads, fn -> pause.(5) end, key: "user #{rem(n, 7)}", timeout: 50)
  RateLimiter.hit(Flood.Api, "client #{rem(n, 3)}")
  Penstock.spawn(Flood.Slow, fn -> pause.(:infinity) end, max_runtime: 300)
  Ban.record_failure(Flood.Bans, {:client, rem(n, 40)})
end

loop = fn loop, n ->
  work.(n)
  pause.(20)
  loop.(loop, n + 1)
end

for n <- 1..40, do: spawn(fn -> loop.(loop, n) end)

# The processes past every gate.
limit = :erlang.system_info(:process_limit)

fill = fn share ->
  for _ <- 1..max(round(limit * share) - :erlang.system_info(:process_count), 1), do: spawn(fn -> pause.(:infinity) end)
end

fill.(0.72)
File.write!(Path.join(directory, "port.new"), "#{port}\n")
File.rename!(Path.join(directory, "port.new"), Path.join(directory, "port"))

spawn(fn ->
  IO.read(:stdio, :line)
  System.halt(0)
end)

await = fn await -> File.exists?(Path.join(directory, "go")) || (pause.(100) && await.(await)) end
await.(await)

for step <- 1..42 do
  pause.(1_000)
  fill.(0.72 + step * 0.005)
end

pause.(:infinity)
