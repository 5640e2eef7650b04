# expects: PS006 medium line 6, PS002 high line 6
defmodule ShopWeb.CheckoutLive do
  use ShopWeb, :live_view

  def handle_event("pay", %{"card" => card}, socket) do
    Task.Supervisor.async(Shop.Payments, fn -> charge(card, socket.assigns.cart) end)
    {:noreply, assign(socket, :state, :paying)}
  end

  def handle_event("cancel", _params, socket), do: {:noreply, assign(socket, :state, :open)}

  def handle_info({:paid, receipt}, socket), do: {:noreply, assign(socket, state: :paid, receipt: receipt)}

  defp charge(card, cart), do: Req.post!("https://pay.example.com", json: %{card: card, sum: cart.sum})
end
