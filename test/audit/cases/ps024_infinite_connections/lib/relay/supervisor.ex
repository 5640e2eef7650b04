# expects: PS024 high line 10, PS024 high line 11
defmodule Relay.Supervisor do
  use Supervisor

  def start_link(arg), do: Supervisor.start_link(__MODULE__, arg, name: __MODULE__)

  @impl true
  def init(_arg) do
    children = [
      {ThousandIsland, port: 7000, handler_module: Relay.Handler, num_connections: :infinity},
      :ranch.child_spec(Relay.Old, :ranch_tcp, %{max_connections: :infinity, socket_opts: [port: 7001]}, Relay.Old, [])
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end
end
