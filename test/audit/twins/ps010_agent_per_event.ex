# expects: nothing
defmodule ShopWeb.CartLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, carts: %{})}

  # A cart is data, and needs no process.
  def handle_event("new_cart", %{"name" => name}, socket) do
    carts = Map.put(socket.assigns.carts, name, %{name: name, items: []})
    {:noreply, assign(socket, carts: carts)}
  end

  def handle_event("add", %{"sku" => sku}, socket) do
    carts = Map.new(socket.assigns.carts, fn {name, cart} -> {name, %{cart | items: [sku | cart.items]}} end)
    {:noreply, assign(socket, carts: carts)}
  end
end
