# expects: PS002 high line 8, PS004 medium line 12
defmodule Trade.SessionSupervisor do
  use DynamicSupervisor

  def start_link(arg), do: DynamicSupervisor.start_link(__MODULE__, arg, name: __MODULE__)

  def start_session(user) do
    DynamicSupervisor.start_child(__MODULE__, {Trade.Session, user})
  end

  @impl true
  def init(_arg), do: DynamicSupervisor.init(strategy: :one_for_one)
end

defmodule Trade.Session do
  use GenServer, restart: :temporary

  def start_link(user), do: GenServer.start_link(__MODULE__, user)

  @impl true
  def init(user), do: {:ok, %{user: user, positions: []}}
end

defmodule TradeWeb.SessionController do
  use ShopWeb, :controller

  def create(conn, %{"user" => user}) do
    {:ok, pid} = Trade.SessionSupervisor.start_session(user)
    json(conn, %{session: inspect(pid)})
  end
end
