# expects: PS023 medium line 13
defmodule Forum.Application do
  use Application

  @impl true
  def start(_type, _args) do
    web = [
      plug: Forum.Router,
      scheme: :http
    ]

    children = [
      {Bandit, [http_2_options: [enabled: false], thousand_island_options: [num_connections: 2_000]] ++ web},
      Forum.Clock
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
