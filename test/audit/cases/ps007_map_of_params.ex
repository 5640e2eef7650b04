# expects: PS007 high line 13
defmodule ShopWeb.SettingsController do
  use ShopWeb, :controller

  def update(conn, %{"settings" => settings}) do
    changes = atomize(settings)
    Shop.Repo.update!(changes)
    json(conn, %{saved: map_size(changes)})
  end

  defp atomize(map) do
    for {key, value} <- map, into: %{} do
      {String.to_atom(key), value}
    end
  end
end
