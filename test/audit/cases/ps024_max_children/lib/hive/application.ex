# expects: PS024 medium line 9
defmodule Hive.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {Registry, keys: :unique, name: Hive.Registry},
      {DynamicSupervisor, strategy: :one_for_one, name: Hive.Sessions, max_children: 5_000_000}
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
