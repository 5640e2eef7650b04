# expects: nothing
defmodule DepotWeb.Router do
  use Phoenix.Router

  scope "/staff", DepotWeb do
    pipe_through([:browser, :require_admin])
    post("/stock", StockController, :create)
  end
end

defmodule DepotWeb.StockController do
  use ShopWeb, :controller

  def create(conn, %{"goods" => goods}), do: json(conn, Shop.Repo.insert!(goods))
end
