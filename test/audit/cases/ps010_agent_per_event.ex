# expects: PS010 high line 8
defmodule ShopWeb.CartLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, carts: [])}

  def handle_event("new_cart", %{"name" => name}, socket) do
    {:ok, cart} = Agent.start(fn -> %{name: name, items: []} end)
    {:noreply, assign(socket, carts: [cart | socket.assigns.carts])}
  end

  def handle_event("add", %{"sku" => sku}, socket) do
    Enum.each(socket.assigns.carts, fn cart ->
      Agent.update(cart, &Map.update!(&1, :items, fn all -> [sku | all] end))
    end)

    {:noreply, socket}
  end
end
