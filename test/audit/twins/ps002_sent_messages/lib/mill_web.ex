# expects: nothing
defmodule MillWeb.GrainController do
  @behaviour MillWeb.Page

  def create(conn, %{"grain" => grain}) do
    Mill.Worker.cast({:grind, grain})
    Mill.Worker.send_grain(%Mill.Grain{kind: grain})
    Mill.Form.notify({:saved, grain})
    Mill.Sink.pour(grain)
    conn
  end

  def index(conn, _params), do: Map.put(conn, :grains, Mill.Worker.refresh())
end

defmodule MillWeb.Page do
  @callback create(map, map) :: map
end
