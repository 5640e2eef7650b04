# expects: nothing
defmodule GameWeb.MatchLive do
  use ShopWeb, :live_view

  def handle_event("end", _params, socket) do
    GenServer.stop(socket.assigns.match, :normal, 5_000)
    {:noreply, socket}
  end
end
