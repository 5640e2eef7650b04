defmodule Penstock.Plug.Conn do
  # All calls into Plug. Penstock does not depend on Plug, so Plug is looked up at run time.
  @moduledoc false

  @compile {:no_warn_undefined, Plug.Conn}

  @spec put_header(map, String.t(), String.t()) :: map
  def put_header(conn, name, value), do: Plug.Conn.put_resp_header(conn, name, value)

  # Puts header fields whose names and values are known to be well-formed.
  @spec put_headers(map, [{String.t(), String.t()}]) :: map
  def put_headers(conn, headers), do: Plug.Conn.merge_resp_headers(conn, headers)

  @spec put_private(map, atom, term) :: map
  def put_private(conn, key, value), do: Plug.Conn.put_private(conn, key, value)

  # Sends a response and halts the conn.
  @spec send(map, 100..599, String.t(), iodata) :: map
  def send(conn, status, type, body) do
    conn |> put_header("content-type", type) |> Plug.Conn.send_resp(status, body) |> halt()
  end

  # Sends the response that a conn has, and halts the conn.
  @spec send(map) :: map
  def send(conn), do: conn |> Plug.Conn.send_resp() |> halt()

  @spec halt(map) :: map
  def halt(conn), do: Plug.Conn.halt(conn)
end
