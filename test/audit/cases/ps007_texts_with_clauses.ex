# expects: PS007 high line 8
defmodule ArtWeb.ImageController do
  use ShopWeb, :controller

  def show(conn, %{"kind" => kind, "id" => id}) do
    case image(kind, id) do
      nil -> conn |> put_status(404) |> json(%{})
      image -> json(conn, %{String.to_atom(kind) => image})
    end
  end

  defp image(kind, id), do: Shop.Repo.get(kind, id)
end
