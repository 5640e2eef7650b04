# A flood from one address cannot block the logins of other addresses. Password guessers are
# banned. Calls to a service keep to the service's limit of five a second.
#
#     mix run examples/rate_limits.exs

alias Penstock.{Ban, IP, RateLimiter}

{:ok, _supervisor} =
  Supervisor.start_link(
    [
      # Each address can try twenty times a minute, and ten times in a row.
      {RateLimiter, name: MyApp.LoginRate, limit: 20, per: 60_000, burst: 10},
      # Three wrong passwords ban an address for five minutes, then for ten, for twenty, ...
      {Ban, name: MyApp.Guessers, failures: 3, within: 60_000, ban_for: 300_000},
      # The partner, a service that we call, allows us five calls a second.
      {RateLimiter, name: MyApp.Partner, limit: 5, per: 1_000, burst: 1}
    ],
    strategy: :one_for_one
  )

login = fn address, password ->
  # All addresses of one IPv6 network, by default a /64, have the same key.
  key = IP.key(address)

  with {:allow, _left} <- RateLimiter.hit(MyApp.LoginRate, key),
       :ok <- Ban.check(MyApp.Guessers, key) do
    # Only failures count towards a ban.
    if password == "secret", do: :welcome, else: {:wrong, Ban.record_failure(MyApp.Guessers, key)}
  end
end

flood = for _ <- 1..1_000, do: login.({10, 0, 0, 1}, "secret")
IO.puts("of 1,000 at once from one address: #{Enum.count(flood, &(&1 == :welcome))} got through")
{:deny, retry_after_ms} = List.last(flood)
IO.puts("the others were told to try again in #{div(retry_after_ms, 1_000) + 1} s")
IO.inspect(login.({10, 0, 0, 2}, "secret"), label: "from another address")

guesses = for n <- 1..4, do: login.({0x2001, 0xDB8, 0, 7, 0, 0, 0, n}, "guess #{n}")
IO.inspect(guesses, label: "four guesses from four addresses of one network")
IO.inspect(for(%{key: key, level: level} <- Ban.list(MyApp.Guessers), do: {key, level}), label: "kept out")

# Six callers wait for their turns at the partner's limiter. The turns are 200 ms apart.
{us, :ok} =
  :timer.tc(fn ->
    1..6
    |> Enum.map(fn _ -> Task.async(fn -> :ok = RateLimiter.acquire(MyApp.Partner) end) end)
    |> Enum.each(&Task.await/1)
  end)

IO.puts("six calls at five a second took #{Float.round(us / 1_000_000, 1)} s")
