# expects: PS002 medium line 6, PS002 high line 15
defmodule BankWeb.Admin.ReportController do
  use ShopWeb, :controller

  def create(conn, %{"year" => year}) do
    Task.start(fn -> Shop.Repo.all(year) end)
    json(conn, %{})
  end
end

defmodule BankWeb.ReportController do
  use ShopWeb, :controller

  def create(conn, %{"year" => year}) do
    Task.start(fn -> Shop.Repo.all(year) end)
    json(conn, %{})
  end
end
