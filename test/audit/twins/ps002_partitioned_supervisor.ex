# expects: nothing
defmodule Sessions.Supervisor do
  use Supervisor

  def start_link(arg), do: Supervisor.start_link(__MODULE__, arg, name: __MODULE__)

  @impl true
  def init(_arg) do
    children = [
      {PartitionSupervisor, child_spec: {DynamicSupervisor, max_children: 1_000}, name: Sessions.Partitions}
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end
end

defmodule SessionsWeb.LoginController do
  use ShopWeb, :controller

  def create(conn, %{"name" => name}) do
    spec = {Agent, fn -> %{name: name, since: System.system_time(:second)} end}
    via = {:via, PartitionSupervisor, {Sessions.Partitions, name}}

    case DynamicSupervisor.start_child(via, spec) do
      {:ok, _pid} -> json(conn, %{ok: true})
      {:error, _reason} -> conn |> put_status(503) |> json(%{ok: false})
    end
  end
end
