# expects: PS022 high line 9, PS025 medium line 9
defmodule Hall.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      Hall.Repo,
      {Bandit, plug: Hall.Router, port: 8080, http_2_options: [max_concurrent_streams: 100]}
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
