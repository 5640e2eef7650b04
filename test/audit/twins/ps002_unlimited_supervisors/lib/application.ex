# expects: nothing
defmodule Farm.Application do
  use Application

  @impl true
  def start(_type, _args) do
    Supervisor.start_link(
      [{Task.Supervisor, name: Farm.Tasks, max_children: 10}],
      strategy: :one_for_one
    )
  end

  def tasks, do: Application.fetch_env!(:farm, :tasks)
end
