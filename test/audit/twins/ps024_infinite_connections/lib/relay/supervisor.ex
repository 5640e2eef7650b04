# expects: nothing
defmodule Relay.Supervisor do
  use Supervisor

  def start_link(arg), do: Supervisor.start_link(__MODULE__, arg, name: __MODULE__)

  @impl true
  def init(_arg) do
    children = [
      {ThousandIsland, port: 7000, handler_module: Relay.Handler, num_acceptors: 1, num_connections: 10_000},
      :ranch.child_spec(
        Relay.Old,
        :ranch_tcp,
        %{max_connections: 1_000, num_conns_sups: 1, socket_opts: [port: 7001]},
        Relay.Old,
        []
      )
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end
end
