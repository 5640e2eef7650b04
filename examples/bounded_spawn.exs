# A pool bounds how many processes run at once. It refuses further calls immediately.
#
#     mix run examples/bounded_spawn.exs

{:ok, _supervisor} = Supervisor.start_link([{Penstock.Pool, name: MyApp.Jobs, limit: 3}], strategy: :one_for_one)

job = fn ->
  receive do
    :finish -> :ok
  end
end

show = fn title, spawned ->
  %{in_use: in_use, available: available} = Penstock.Pool.info(MyApp.Jobs)
  IO.puts("#{title}: #{inspect(spawned)}; #{in_use} running, room for #{available}")
end

# Five calls ask for three permits.
spawned = for _ <- 1..5, do: Penstock.spawn_monitor(MyApp.Jobs, job)
started = for {:ok, child} <- spawned, do: child
show.("five jobs", Enum.map(spawned, &elem(&1, 0)))

# A permit returns when its process ends, for any reason.
[{finished, ref_of_finished}, {killed, ref_of_killed} | _running] = started
send(finished, :finish)
Process.exit(killed, :kill)

for ref <- [ref_of_finished, ref_of_killed] do
  receive do
    {:DOWN, ^ref, :process, _pid, reason} -> IO.puts("one ended: #{inspect(reason)}")
  end
end

respawned = for _ <- 1..3, do: Penstock.spawn(MyApp.Jobs, job)
show.("three more", Enum.map(respawned, &elem(&1, 0)))
