# expects: nothing
defmodule ShopWeb.CheckoutLive do
  use ShopWeb, :live_view

  def handle_event("pay", %{"card" => card}, socket) do
    payment = Task.Supervisor.async_nolink(Shop.Payments, fn -> charge(card, socket.assigns.cart) end)

    case Task.yield(payment, 4_000) || Task.shutdown(payment) do
      {:ok, receipt} -> {:noreply, assign(socket, state: :paid, receipt: receipt)}
      _none -> {:noreply, assign(socket, :state, :failed)}
    end
  end

  def handle_event("cancel", _params, socket), do: {:noreply, assign(socket, :state, :open)}

  defp charge(card, cart), do: Req.post!("https://pay.example.com", json: %{card: card, sum: cart.sum})
end
