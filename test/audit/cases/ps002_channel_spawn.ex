# expects: PS002 high line 8
defmodule ChatWeb.RoomChannel do
  use ShopWeb, :channel

  def join("room:" <> id, _params, socket), do: {:ok, assign(socket, :room, id)}

  def handle_in("message", %{"text" => text}, socket) do
    spawn(fn -> translate_and_send(socket, text) end)
    {:noreply, socket}
  end

  def handle_in("typing", _params, socket) do
    broadcast!(socket, "typing", %{user: socket.assigns.user})
    {:noreply, socket}
  end

  defp translate_and_send(socket, text) do
    {:ok, %{body: translated}} = Req.post("https://translate.example.com", body: text)
    broadcast!(socket, "message", %{text: text, translated: translated})
  end
end
