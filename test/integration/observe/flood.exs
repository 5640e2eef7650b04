# A node with gates of each kind under load, and a flood of processes, for the check of Prometheus.
#
#     elixir --erl "+P 65536" -S mix run flood.exs DIRECTORY
#
# Serves the metrics at a free port of the loopback address, and writes the port into the file `port` of
# the directory. Fills the table of processes to 72 % at once. Begins to fill the rest, at half a
# percent a second, when the file `go` is there. Ends at 93 %, or with its input.
alias Penstock.{Ban, Gate, KeyedPool, Metrics, Pool, RateLimiter}

[directory] = System.argv()

children = [
  {Pool, name: Flood.Jobs, limit: 20, max_waiting: 10, held_longer_than: 50},
  {Pool, name: Flood.Refusing, limit: 1},
  {Pool, name: Flood.Slow, limit: 5},
  {Pool, name: :"Flood \"\\\n<script>", limit: :infinity},
  {KeyedPool, name: Flood.PerUser, limit: 2, max_keys: 100},
  {RateLimiter, name: Flood.Api, limit: 10, per: 1_000, max_keys: 100},
  {Ban, name: Flood.Bans, failures: 1, max_keys: 100, max_bans: 20},
  {Gate, name: Flood.Uploads, limits: [Flood.Bans, Flood.Api, Flood.PerUser], shed_at: :high}
]

{:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)

# An HTTP server of one function: it answers each request with the metrics in the format that the
# client wants, and closes.
defmodule Flood.Server do
  def start(listen), do: spawn_link(fn -> accept(listen) end)

  defp accept(listen) do
    {:ok, socket} = :gen_tcp.accept(listen)
    fields = fields(socket, %{})
    format = Metrics.accepted(fields["accept"])
    body = Metrics.scrape(format)

    :ok =
      :gen_tcp.send(socket, [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: ",
        Metrics.content_type(format),
        "\r\ncontent-length: #{IO.iodata_length(body)}\r\n\r\n",
        body
      ])

    :gen_tcp.close(socket)
    accept(listen)
  end

  defp fields(socket, fields) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, {:http_request, _method, _path, _version}} -> fields(socket, fields)
      {:ok, {:http_header, _, name, _, value}} -> fields(socket, Map.put(fields, String.downcase("#{name}"), value))
      {:ok, :http_eoh} -> fields
    end
  end
end

{:ok, listen} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, packet: :http_bin, active: false, reuseaddr: true])
Flood.Server.start(listen)
{:ok, port} = :inet.port(listen)

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
