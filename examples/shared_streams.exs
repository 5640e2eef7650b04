# Twenty callers each run a stream of up to ten tasks. Without a pool two hundred tasks would run
# at once; with a shared pool, eight.
#
#     mix run examples/shared_streams.exs

{:ok, _supervisor} =
  Supervisor.start_link([{Penstock.Pool, name: MyApp.Outbound, limit: 8}],
    strategy: :one_for_one
  )

fetch = fn page ->
  Process.sleep(5)
  page * page
end

pages =
  1..20
  |> Enum.map(fn _caller ->
    Task.async(fn ->
      MyApp.Outbound
      |> Penstock.Task.async_stream(1..10, fetch, max_concurrency: 10)
      |> Enum.map(fn {:ok, page} -> page end)
    end)
  end)
  |> Task.await_many()

IO.puts("#{length(List.flatten(pages))} pages, in order: #{Enum.all?(pages, &(&1 == Enum.sort(&1)))}")
IO.puts("at most #{Penstock.Pool.info(MyApp.Outbound).peak} at once")

# A hung task is killed, and its permits return.
{:ok, _pid} = Penstock.Task.start(MyApp.Outbound, fn -> Process.sleep(:infinity) end, permits: 8, max_runtime: 50)
IO.inspect(Penstock.Task.start(MyApp.Outbound, fn -> :ok end), label: "while it hangs")
{:ok, task} = Penstock.Task.async(MyApp.Outbound, fn -> fetch.(7) end, timeout: 2_000)
IO.puts("afterwards: #{Task.await(task)}; killed: #{Penstock.Pool.info(MyApp.Outbound).killed}")
