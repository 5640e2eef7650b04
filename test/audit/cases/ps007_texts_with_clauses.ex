# expects: PS007 high line 8, PS007 high line 16
defmodule ArtWeb.ImageController do
  use ShopWeb, :controller

  def show(conn, %{"kind" => kind, "id" => id}) do
    case image(kind, id) do
      nil -> conn |> put_status(404) |> json(%{})
      image -> json(conn, %{String.to_atom(kind) => image})
    end
  end

  defp image(kind, id), do: Shop.Repo.get(kind, id)

  # label/1 takes any text.
  def sort(conn, %{"by" => by}) do
    if label(by) != "", do: json(conn, Shop.Repo.all(order: String.to_atom(by)))
  end

  defp label("name"), do: "Name"
  defp label("date"), do: "Date"
  defp label(other), do: other
end
