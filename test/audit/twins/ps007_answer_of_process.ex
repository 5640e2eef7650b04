# expects: nothing
defmodule DeviceWeb.KeyController do
  use ShopWeb, :controller

  def show(conn, _params) do
    receive do
      {:keys, keys} -> json(conn, keys)
    after
      2_000 -> json(conn, %{})
    end
  end
end
