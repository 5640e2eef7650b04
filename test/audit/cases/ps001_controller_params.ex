# expects: PS001 high line 8
defmodule ShopWeb.BulkController do
  use ShopWeb, :controller

  def create(conn, %{"orders" => orders}) do
    results =
      for order <- orders do
        {:ok, pid} = Task.start_link(fn -> Shop.Repo.insert!(to_row(order)) end)
        inspect(pid)
      end

    json(conn, %{accepted: results})
  end

  def create(conn, _params) do
    conn
    |> put_status(422)
    |> json(%{error: "orders are missing"})
  end

  defp to_row(order), do: %{sku: order["sku"], amount: order["amount"]}
end
