# expects: nothing
defmodule Swarm.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {DynamicSupervisor, name: Swarm.Bees, max_children: 200_000},
      {DynamicSupervisor, name: Swarm.Wasps, max_children: 200_000},
      {DynamicSupervisor, name: Swarm.Ants, max_children: 210_000},
      {Task.Supervisor, name: Swarm.Tasks, max_children: 200_000},
      {Penstock.Pool, name: Swarm.Queens, limit: 200_000}
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: Swarm.Supervisor)
  end
end
