# expects: nothing
defmodule ShopWeb.ProductController do
  use ShopWeb, :controller

  @default "title"

  def index(conn, params) do
    field = String.to_existing_atom(params["sort"] || @default)
    direction = if params["dir"] == "desc", do: :desc, else: :asc
    products = Shop.Repo.all({:products, order_by: [{direction, field}]})

    render(conn, "index.html", products: products)
  end

  def show(conn, %{"id" => id}) do
    render(conn, "show.html", product: Shop.Repo.get(:products, id))
  end
end
