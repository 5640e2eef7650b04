# expects: nothing
defmodule Forum.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {Bandit,
       plug: Forum.Router,
       http_2_options: [enabled: false],
       thousand_island_options: [num_acceptors: 1, num_connections: 2_000]},
      {Forum.Clock, []}
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
