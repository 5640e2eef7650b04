# A hundred processes share a resource that only four can use at once. The others wait in a queue,
# first come, first served, instead of failing. No broker process is involved.
#
#     mix run examples/back_pressure.exs

{:ok, _supervisor} =
  Supervisor.start_link([{Penstock.Pool, name: MyApp.Connections, limit: 4}],
    strategy: :one_for_one
  )

query = fn n ->
  Process.sleep(10)
  n * n
end

{us, results} =
  :timer.tc(fn ->
    1..100
    |> Enum.map(fn n ->
      Task.async(fn -> Penstock.run(MyApp.Connections, fn -> query.(n) end, timeout: 5_000) end)
    end)
    |> Task.await_many()
  end)

done = Enum.count(results, &match?({:ok, _square}, &1))
IO.puts("#{done} of 100 queries done in #{div(us, 1_000)} ms")
IO.puts("at most #{Penstock.Pool.info(MyApp.Connections).peak} at once")

# A caller can bound its wait. If the pool refuses, the caller gets the reason.
holders =
  for _ <- 1..4 do
    {:ok, pid} = Penstock.spawn(MyApp.Connections, fn -> Process.sleep(:infinity) end)
    pid
  end

for timeout <- [0, 20] do
  refused = Penstock.run(MyApp.Connections, fn -> query.(1) end, timeout: timeout)
  IO.inspect(refused, label: "timeout: #{timeout}")
end

try do
  Penstock.run!(MyApp.Connections, fn -> query.(1) end, timeout: 0)
rescue
  error in Penstock.RejectedError -> IO.puts("run!/3: #{Exception.message(error)}")
end

Enum.each(holders, &Process.exit(&1, :kill))
