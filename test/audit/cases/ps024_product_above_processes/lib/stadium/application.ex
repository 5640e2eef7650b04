# expects: PS024 high line 11
defmodule Stadium.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {Plug.Cowboy,
       scheme: :http,
       plug: Stadium.Router,
       options: [port: 4000, transport_options: [num_acceptors: 100, max_connections: 20_000]]}
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
