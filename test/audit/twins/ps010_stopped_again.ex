# expects: nothing
defmodule Cache.Controller do
  use Phoenix.Controller
  import Plug.Conn

  def show(conn, %{"path" => path}) do
    {:ok, pid} = Agent.start_link(fn -> path end)
    values = Agent.get(pid, & &1)
    Agent.stop(pid)
    send_resp(conn, 200, values)
  end
end
