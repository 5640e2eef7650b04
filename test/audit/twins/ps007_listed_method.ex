# expects: nothing
defmodule Search.Proxy do
  @behaviour Plug
  import Plug.Conn

  @accepted ["GET", "POST"]

  @impl true
  def init(opts), do: opts

  @impl true
  def call(conn, _opts) do
    [method] = get_req_header(conn, "x-method")
    if method in ["GET", "POST"], do: pass_on(conn, method), else: send_resp(conn, 400, "method")
  end

  def pass_on(conn, method) do
    send_resp(conn, 200, inspect({String.to_atom(method), accepted()}))
  end

  defp accepted, do: @accepted
end
