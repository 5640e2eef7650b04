# expects: nothing
defmodule Hall.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      Hall.Repo,
      {Bandit, plug: Hall.Router, port: 8080, http_2_options: [enabled: false]}
    ]

    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
