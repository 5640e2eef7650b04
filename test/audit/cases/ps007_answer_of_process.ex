# expects: PS007 medium line 7, PS007 high line 9
defmodule DeviceWeb.KeyController do
  use ShopWeb, :controller

  def show(conn, %{"ref" => ref}) do
    receive do
      {:keys, keys} -> json(conn, Map.new(keys, fn {key, value} -> {String.to_atom(key), value} end))
    after
      2_000 -> json(conn, %{ref: String.to_atom(ref)})
    end
  end
end
