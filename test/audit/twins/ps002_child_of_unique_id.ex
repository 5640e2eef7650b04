# expects: nothing
defmodule PlantWeb.SensorController do
  use ShopWeb, :controller

  def create(conn, %{"id" => id}), do: json(conn, GenServer.call(Plant.Sensors, {:add, id}))
end
