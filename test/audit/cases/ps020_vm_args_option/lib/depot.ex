# expects: nothing
defmodule Depot do
  def stock(sku), do: :ets.lookup(:stock, sku)
end
