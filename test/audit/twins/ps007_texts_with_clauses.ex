# expects: nothing
defmodule ArtWeb.ImageController do
  use ShopWeb, :controller

  def show(conn, %{"kind" => kind, "id" => id}) do
    case image(kind, id) do
      nil -> conn |> put_status(404) |> json(%{})
      image -> json(conn, %{String.to_atom(kind) => image})
    end
  end

  defp image("poster", id), do: Shop.Repo.get(:posters, id)
  defp image("stamp", id), do: Shop.Repo.get(:stamps, id)
  defp image(_kind, _id), do: nil
end
