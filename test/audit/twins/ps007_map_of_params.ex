# expects: nothing
defmodule ShopWeb.SettingsController do
  use ShopWeb, :controller

  @known ~w(language currency newsletter)

  def update(conn, %{"settings" => settings}) do
    changes = atomize(settings)
    Shop.Repo.update!(changes)
    json(conn, %{saved: map_size(changes)})
  end

  defp atomize(map) do
    for {key, value} <- map, key in @known, into: %{} do
      {String.to_atom(key), value}
    end
  end
end
