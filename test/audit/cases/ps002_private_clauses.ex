# expects: PS002 high line 22
defmodule Inventory.Store do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_cast(event, state), do: {:noreply, apply_event(event, state)}

  defp apply_event({:sold, sku, amount}, state) do
    state
    |> Map.update(sku, -amount, &(&1 - amount))
    |> reorder(sku)
  end

  defp apply_event({:received, sku, amount}, state), do: Map.update(state, sku, amount, &(&1 + amount))

  defp reorder(state, sku) do
    Task.start(fn -> Req.post("https://supplier.example.com/orders", json: sku) end)
    state
  end
end
