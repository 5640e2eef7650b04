# expects: nothing
defmodule Trade.SessionSupervisor do
  use DynamicSupervisor

  def start_link(arg), do: DynamicSupervisor.start_link(__MODULE__, arg, name: __MODULE__)

  def start_session(user) do
    DynamicSupervisor.start_child(__MODULE__, {Trade.Session, user})
  end

  @impl true
  def init(_arg), do: DynamicSupervisor.init(strategy: :one_for_one, max_children: 10_000)
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
    case Trade.SessionSupervisor.start_session(user) do
      {:ok, pid} -> json(conn, %{session: inspect(pid)})
      {:error, :max_children} -> conn |> put_status(503) |> json(%{error: "busy"})
    end
  end
end
