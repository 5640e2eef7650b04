# Two supervisors share one pool of four permits. A child crashes while the pool is full, and is
# restarted. When the tree stops, it drains the pool.
#
#     mix run examples/supervised.exs

Logger.configure(level: :none)

{:ok, tree} =
  Supervisor.start_link(
    [
      {Penstock.Pool, name: MyApp.Budget, limit: 4},
      {Penstock.DynamicSupervisor, name: MyApp.Sessions, gate: MyApp.Budget},
      {Penstock.Task.Supervisor, name: MyApp.Tasks, gate: MyApp.Budget},
      {Penstock.Drainer, pools: [MyApp.Budget], shutdown: 5_000}
    ],
    strategy: :one_for_one
  )

session = fn n -> Penstock.DynamicSupervisor.start_child(MyApp.Sessions, {Agent, fn -> n end}) end
{:ok, first} = session.(1)
{:ok, _second} = session.(2)

for _ <- 1..2 do
  {:ok, _task} = Penstock.Task.Supervisor.start_child(MyApp.Tasks, fn -> Process.sleep(200) end)
end

IO.inspect(session.(3), label: "a third session")

# The supervisor restarts the child although the pool is full: a restart can take over the permit
# of the dead child.
Process.exit(first, :kill)

restarted? = fn ->
  match?(
    [_, _],
    for({_, pid, _, _} <- Penstock.DynamicSupervisor.which_children(MyApp.Sessions), pid != first, do: pid)
  )
end

Enum.find(Stream.repeatedly(restarted?), & &1)
IO.puts("after a crash: #{Penstock.DynamicSupervisor.count_children(MyApp.Sessions).active} sessions")

# When the tree stops, it drains the pool: it waits until all work has ended. The tasks end by
# themselves, but the sessions do not. So this code ends the sessions before the tree stops.
for {_, pid, _, _} <- Penstock.DynamicSupervisor.which_children(MyApp.Sessions) do
  Penstock.DynamicSupervisor.terminate_child(MyApp.Sessions, pid)
end

IO.puts("stopped: #{Supervisor.stop(tree)}")
