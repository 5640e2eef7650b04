# expects: nothing
defmodule ShopWeb.BulkController do
  use ShopWeb, :controller

  @most 20

  def create(conn, %{"orders" => orders}) when length(orders) <= @most do
    results =
      orders
      |> Task.async_stream(fn order -> Shop.Repo.insert!(to_row(order)) end, max_concurrency: 4)
      |> Enum.map(fn {:ok, row} -> row.sku end)

    json(conn, %{accepted: results})
  end

  def create(conn, _params) do
    conn
    |> put_status(422)
    |> json(%{error: "orders are missing, or too many"})
  end

  defp to_row(order), do: %{sku: order["sku"], amount: order["amount"]}
end
