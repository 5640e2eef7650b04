# A node with gates of all kinds under a flood, and its dashboard. Run by check.mjs as
# `mix run flood.exs PORT [TOKEN]`. Prints the port, and obeys the lines that it reads: `fill` makes a pool
# full. Ends when its input ends, so that it never outlives the check.
[port | token] = System.argv()

alias Penstock.{Ban, Gate, KeyedPool, Pool, RateLimiter}

# 255 characters, the most that an atom has.
longest = "ünï日本😀" |> String.duplicate(50) |> String.slice(0, 255)

hostile = [
  :"a b\n\"quoted\" 'twice' <script>window.injected = 1</script>",
  :"<img src=x onerror=\"alert(1)\">",
  :"\u202Ebackwards",
  String.to_atom(longest)
]

pools = [{MyApp.Jobs, 20}, {MyApp.Uploads, 3}, {MyApp.Paused, 0}]
pools = pools ++ for(name <- hostile, do: {name, 2}) ++ for(n <- 1..5, do: {:"Elixir.MyApp.Shard#{n}", 10})
for {name, limit} <- pools, do: {:ok, _} = Pool.start_link(name: name, limit: limit)
{:ok, _} = KeyedPool.start_link(name: MyApp.PerUser, limit: 2)
{:ok, _} = RateLimiter.start_link(name: MyApp.Api, limit: 10, per: 1_000)
{:ok, _} = Ban.start_link(name: MyApp.Bans)
{:ok, _} = Gate.start_link(name: MyApp.Checkout, limits: [MyApp.Api, MyApp.PerUser, MyApp.Shard1])

:ok = Ban.ban(MyApp.Bans, "203.0.113.7", 600_000, "<b>too many logins</b>")
:ok = Ban.ban(MyApp.Bans, {:user, 7}, :infinity)

defmodule Flood do
  # Starts a process that holds permits until it dies, and returns when it holds them.
  def hold(acquire) do
    caller = self()

    spawn_link(fn ->
      :ok = acquire.()
      send(caller, {self(), :holds})
      Process.sleep(:infinity)
    end)
    |> then(fn pid -> receive do: ({^pid, :holds} -> pid) end)
  end

  # Calls `fun` about once in `ms`, with a number that grows, until the node ends.
  def pace(ms, fun, n \\ 0) do
    fun.(n)
    Process.sleep(ms)
    pace(ms, fun, n + 1)
  end
end

for _ <- 1..20, do: Flood.hold(fn -> Pool.acquire(MyApp.Jobs) end)
for name <- hostile, do: Flood.hold(fn -> Pool.acquire(name) end)

for key <- [{:user, 1}, "<img src=x onerror=alert(2)>"],
    do: Flood.hold(fn -> KeyedPool.acquire(MyApp.PerUser, key, permits: 2) end)

paced = [
  fn _n -> Pool.try_acquire(MyApp.Jobs) end,
  fn n -> RateLimiter.hit(MyApp.Api, rem(n, 2)) end,
  fn _n -> Penstock.run(MyApp.Checkout, fn -> :ok end, key: {:user, 1}, timeout: 0) end,
  # Is in use for about a second of each two, so that its curve moves.
  fn n -> if(rem(div(n, 50), 2) == 0, do: Penstock.run(MyApp.Uploads, fn -> Process.sleep(500) end, timeout: 0)) end,
  fn _n -> Penstock.spawn(MyApp.Shard2, fn -> :ok end) end
]

for fun <- paced, do: spawn_link(fn -> Flood.pace(20, fun) end)

token = for text <- token, do: {:token, text}
{:ok, dashboard} = Penstock.Dashboard.start_link([port: String.to_integer(port)] ++ token)
IO.puts("listening #{Penstock.Dashboard.port(dashboard)}")

for "fill\n" <- IO.stream() do
  for _ <- 1..3, do: Flood.hold(fn -> Pool.acquire(MyApp.Uploads) end)
  spawn_link(fn -> Flood.pace(20, fn _n -> Pool.try_acquire(MyApp.Uploads) end) end)
  IO.puts("filled")
end

System.halt(0)
