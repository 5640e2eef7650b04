defmodule MyApp.Application do
  # The gates of an application, each of them far above what a test would fill.
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {Penstock.Pool, name: MyApp.Jobs, limit: 100, max_waiting: 7},
      {Penstock.Pool, name: MyApp.Shared, limit: 50},
      {Penstock.KeyedPool, name: MyApp.Uploads, limit: 40, max_keys: 50_000},
      {Penstock.RateLimiter, name: MyApp.Api, limit: 1_000, per: 60_000},
      {Penstock.RateLimiter, name: MyApp.Mails, limit: 1_000, per: 60_000, burst: 20},
      {Penstock.Ban, name: MyApp.LoginBans, failures: 30, ban_for: 1_000},
      {Penstock.Gate,
       name: MyApp.Checkout, limits: [MyApp.LoginBans, MyApp.Api, MyApp.Uploads, MyApp.Jobs], shed_at: :critical},
      {Penstock.DynamicSupervisor, name: MyApp.Sessions, limit: 100, max_restarts: 1_000},
      {Penstock.Task.Supervisor, name: MyApp.Tasks, limit: 100},
      {Task.Supervisor, name: MyApp.PlainTasks},
      {DynamicSupervisor, name: MyApp.Children, max_restarts: 1_000},
      {MyApp.Worker, name: MyApp.Worker},
      %{id: MyApp.Reports, start: {Agent, :start_link, [fn -> [] end, [name: MyApp.Reports]]}},
      %{id: MyApp.Elsewhere, start: {Agent, :start_link, [fn -> nil end, [name: MyApp.Elsewhere]]}}
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: MyApp.Supervisor)
  end
end

defmodule MyApp.Worker do
  # A server of the application, which no test has started. Asks gates on behalf of its callers.
  @moduledoc false
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, [], opts)

  # Returns the limit of the pool that the server finds under that name.
  def limit(server, name), do: GenServer.call(server, {:limit, name})

  @impl true
  def init(_), do: {:ok, nil}

  @impl true
  def handle_call({:limit, name}, _from, nil), do: {:reply, Penstock.Pool.info(name).limit, nil}
end

defmodule MyApp.AsksAtItsEnd do
  # Reads the limit of a pool when its supervisor ends it, and tells MyApp.Reports.
  @moduledoc false
  use GenServer

  def start_link(pool), do: GenServer.start_link(__MODULE__, pool)

  @impl true
  def init(pool) do
    Process.flag(:trap_exit, true)
    {:ok, pool}
  end

  @impl true
  def terminate(:shutdown, pool) do
    limit = Penstock.Pool.info(pool).limit
    Agent.update(MyApp.Reports, &[limit | &1])
  end
end
