# expects: nothing
defmodule Import.Controller do
  use Phoenix.Controller
  import Plug.Conn

  def create(conn, %{"options" => options}) do
    known =
      Enum.map(options, fn
        {"header" = key, value} -> {String.to_atom(key), value}
        {_other, _value} -> nil
      end)

    send_resp(conn, 200, inspect(known))
  end
end
