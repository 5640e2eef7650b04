# A node with the gates of an application and the traffic of some minutes: a calm time, and then a flood
# that clients of one network send. Run by pictures.mjs as `mix run application.exs SECONDS PORT`. Prints the
# port. The line `top FILE` writes the terminal page to a file. Ends when its input ends.
[seconds, port] = Enum.map(System.argv(), &String.to_integer/1)

alias Penstock.{Ban, IP, KeyedPool, Pool, RateLimiter}

for {name, limit} <- [{MyApp.Requests, 100}, {MyApp.Uploads, 20}, {MyApp.Mailer, 5}],
    do: {:ok, _} = Pool.start_link(name: name, limit: limit, max_waiting: 50)

{:ok, _} = KeyedPool.start_link(name: MyApp.PerClient, limit: 10)
{:ok, _} = RateLimiter.start_link(name: MyApp.Api, limit: 2, per: 1_000)
{:ok, _} = Ban.start_link(name: MyApp.Bans, failures: 240, within: 60_000, ban_for: 900_000)

defmodule MyApp.Traffic do
  # Makes the traffic. How much it makes in a tick follows from the part of the run that has passed, 0.0 to 1.0.

  @tick_ms 50
  # The share of the run after which the flood begins, and that after which it is at its height.
  @flood 0.55
  @height 0.75

  @calm_per_s 120
  @flood_per_s 500
  # At each time, this many clients of the flood send bodies slowly. Each does so for some seconds.
  @slow 3
  @slow_per_s 240
  @slow_s 6
  @slow_ms 1_000
  @mean_ms 220

  def run(start, seconds) do
    part = min((System.monotonic_time(:millisecond) - start) / (seconds * 1_000), 1.0)
    wave = 1 + 0.3 * :math.sin(part * 40) + 0.1 * :rand.normal()
    height = flood(part)

    start_some(@calm_per_s * wave, fn -> request(client()) end)
    start_some(@flood_per_s * height * wave, fn -> request(attacker()) end)
    start_some(@slow_per_s * height, fn -> request(slow_client(), @slow_ms) end)
    start_some(4 * wave, &upload/0)
    start_some(6 * wave + 6.5 * height, &mail/0)

    Process.sleep(@tick_ms)
    run(start, seconds)
  end

  defp flood(part) when part < @flood, do: 0.0
  defp flood(part), do: min((part - @flood) / (@height - @flood), 1.0)

  # Starts as many processes as arrive in a tick.
  defp start_some(per_s, fun) do
    arrivals = max(per_s, 0) * @tick_ms / 1_000
    count = trunc(arrivals) + if(:rand.uniform() < arrivals - trunc(arrivals), do: 1, else: 0)
    for _ <- 1..count//1, do: spawn(fun)
  end

  defp client, do: address(198, 51, 100, :rand.uniform(250))
  defp attacker, do: address(203, 0, 113, :rand.uniform(250))

  # Each of the slow clients gives way to the next one at another time.
  defp slow_client do
    n = :rand.uniform(@slow)
    turn = div(System.monotonic_time(:second) + n * div(@slow_s, @slow), @slow_s)
    address(192, 0, 2, Integer.mod(@slow * turn + n, 250) + 1)
  end

  defp address(a, b, c, d), do: IP.key({a, b, c, d}, [])

  defp request(client, body_ms \\ 0) do
    with :ok <- Ban.check(MyApp.Bans, client),
         {:error, :key_full} <-
           Penstock.run(MyApp.PerClient, fn -> serve(client, body_ms) end, key: client, timeout: 0),
         do: Ban.record_failure(MyApp.Bans, client)
  end

  # Every second request is one of the API, which has a limit of its own.
  defp serve(client, body_ms) do
    Process.sleep(body_ms)

    with {:allow, _left} <- hit(:rand.uniform(2), client),
         do: Penstock.run(MyApp.Requests, fn -> work(@mean_ms) end, timeout: 250)
  end

  defp hit(1, client), do: RateLimiter.hit(MyApp.Api, client)
  defp hit(2, _client), do: {:allow, 1}

  defp upload, do: Penstock.run(MyApp.Uploads, fn -> work(2_000) end, timeout: 0)
  defp mail, do: Penstock.run(MyApp.Mailer, fn -> work(350) end, timeout: 5_000)

  # Takes the time of a call to a database, which varies.
  defp work(mean_ms), do: Process.sleep(round(-mean_ms * :math.log(:rand.uniform())))
end

start = System.monotonic_time(:millisecond)
spawn_link(fn -> MyApp.Traffic.run(start, seconds) end)

{:ok, dashboard} = Penstock.Dashboard.start_link(port: port)
IO.puts("listening #{Penstock.Dashboard.port(dashboard)}")

for "top " <> file <- IO.stream() do
  # `Penstock.Top` writes to the group leader of its process.
  {:ok, text} = StringIO.open("")
  own = Process.group_leader()
  Process.group_leader(self(), text)
  :ok = Penstock.Top.run(once: true, columns: 96, lines: 40)
  Process.group_leader(self(), own)
  {_input, page} = StringIO.contents(text)
  File.write!(String.trim(file), page)
  IO.puts("written")
end

System.halt(0)
