defmodule Penstock.Dashboard.Tree do
  # The supervisor of a dashboard. It owns the table, so the curves outlive all other processes.
  @moduledoc false
  use Supervisor

  alias Penstock.Dashboard.{Acceptor, History, Settings}
  alias Penstock.Pool

  # A dashboard must never end the application that it shows. Its processes find all they need in
  # the table again, so the supervisor bears any realistic number of restarts.
  @max_restarts 1_000

  @spec start_link(atom | nil, Settings.t()) :: Supervisor.on_start()
  def start_link(name, settings), do: Supervisor.start_link(__MODULE__, settings, if(name, do: [name: name], else: []))

  @impl true
  def init(%{bounds: bounds} = settings) do
    context = %{
      settings: settings,
      table: :ets.new(__MODULE__, [:ordered_set, :public, read_concurrency: true]),
      connections: Pool.new(limit: bounds.connections, max_waiting: 0),
      requests: Pool.new(limit: bounds.requests, max_waiting: 0)
    }

    children = [
      {History, context},
      %{id: :connections, start: {__MODULE__, :start_connections, [context.table]}, type: :supervisor},
      {Acceptor, context}
    ]

    Supervisor.init(children, strategy: :one_for_one, max_restarts: @max_restarts, max_seconds: 1)
  end

  @doc false
  # Starts the supervisor of the processes of connections. They end with it.
  @spec start_connections(:ets.table()) :: {:ok, pid} | {:error, term}
  def start_connections(table) do
    with {:ok, pid} <- Task.Supervisor.start_link() do
      :ets.insert(table, {:connections, pid})
      {:ok, pid}
    end
  end

  # Returns the port at which the dashboard listens.
  @spec port(Supervisor.supervisor()) :: :inet.port_number()
  def port(tree) do
    {:ok, %{start: {Acceptor, :start_link, [context]}}} = :supervisor.get_childspec(tree, Acceptor)
    Settings.opened_port(context.settings)
  end
end
