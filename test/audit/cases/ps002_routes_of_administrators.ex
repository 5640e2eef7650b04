# expects: PS002 high line 20, PS002 medium line 29
defmodule DepotWeb.Router do
  use Phoenix.Router

  scope "/", DepotWeb do
    pipe_through(:browser)
    post("/orders", OrderController, :create)
  end

  scope "/staff", DepotWeb do
    pipe_through([:browser, :require_admin])
    post("/stock", StockController, :create)
  end
end

defmodule DepotWeb.OrderController do
  use ShopWeb, :controller

  def create(conn, %{"order" => order}) do
    Task.start(fn -> Shop.Repo.insert!(order) end)
    json(conn, %{})
  end
end

defmodule DepotWeb.StockController do
  use ShopWeb, :controller

  def create(conn, %{"goods" => goods}) do
    Task.start(fn -> Shop.Repo.insert!(goods) end)
    json(conn, %{})
  end
end
