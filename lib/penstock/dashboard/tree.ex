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

    :ets.insert(context.table, {:opened, settings.opened})

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

  # Returns the port at which the dashboard of a process listens; nil if the process is no dashboard.
  # Asks no process, because a request that a process does not know could end it.
  @spec port(pid) :: :inet.port_number() | nil
  def port(pid) do
    Enum.find_value(:ets.all(), fn table ->
      if :ets.info(table, :owner) == pid and :ets.info(table, :name) == __MODULE__, do: opened_port(table)
    end)
  end

  defp opened_port(table) do
    [{:opened, opened}] = :ets.lookup(table, :opened)
    Settings.opened_port(%{opened: opened})
  rescue
    # The dashboard has just ended, and its table with it.
    ArgumentError -> nil
  end
end
