# expects: nothing
defmodule ShopWeb.BatchController do
  use ShopWeb, :controller

  def show(conn, %{"ids" => ids}) do
    products =
      ids
      |> String.split(",")
      |> Task.async_stream(fn id -> Shop.Repo.get(:products, id) end, ordered: true)
      |> Enum.map(fn {:ok, product} -> product end)

    json(conn, %{products: products})
  end
end
