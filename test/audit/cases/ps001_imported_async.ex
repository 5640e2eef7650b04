# expects: PS001 high line 11
defmodule Prices.Compare do
  @moduledoc "Asks the shops of a list for the price of a product."

  import Task, only: [async: 1, await: 2]

  @patience 5_000

  def cheapest(product, shops) do
    shops
    |> Enum.map(fn shop -> async(fn -> price(shop, product) end) end)
    |> Enum.map(&await(&1, @patience))
    |> Enum.reject(&is_nil/1)
    |> Enum.min(fn -> nil end)
  end

  defp price(shop, product) do
    case Req.get(shop.url <> "/products/" <> product.sku) do
      {:ok, %{body: %{"price" => price}}} -> price
      _other -> nil
    end
  end
end
