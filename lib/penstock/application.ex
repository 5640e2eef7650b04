defmodule Penstock.Application do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    # The janitor keeps no state that it cannot find again, so it may be restarted as often as it dies.
    Supervisor.start_link([Penstock.Janitor],
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1,
      name: Penstock.Supervisor
    )
  end
end
