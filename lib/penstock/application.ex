defmodule Penstock.Application do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    :ok = Penstock.Limit.make_pool()
    :ok = Penstock.Crew.Directory.create()

    # They keep no state that they cannot find again, so they may be restarted as often as they die.
    Supervisor.start_link([Penstock.Janitor, Penstock.Reaper],
      strategy: :one_for_one,
      max_restarts: 1_000,
      max_seconds: 1,
      name: Penstock.Supervisor
    )
  end
end
