# expects: nothing
defmodule BankWeb.Admin.ReportController do
  use ShopWeb, :controller

  def create(conn, %{"year" => year}), do: json(conn, Shop.Repo.all(year))
end
