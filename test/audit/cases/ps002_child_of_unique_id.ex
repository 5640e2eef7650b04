# expects: PS002 medium line 7, PS002 high line 12
defmodule PlantWeb.SensorController do
  use ShopWeb, :controller

  # The supervisor refuses a second child of the id.
  def create(conn, %{"id" => id}) do
    Supervisor.start_child(Plant.Sensors, %{id: id, start: {Plant.Sensor, :start_link, [id]}})
    json(conn, %{})
  end

  def probe(conn, %{"id" => id}) do
    DynamicSupervisor.start_child(Plant.Probes, %{id: id, start: {Plant.Sensor, :start_link, [id]}})
    json(conn, %{})
  end
end

defmodule Plant.Sensor do
  use GenServer

  def start_link(id), do: GenServer.start_link(__MODULE__, id)

  @impl true
  def init(id), do: {:ok, id}
end
