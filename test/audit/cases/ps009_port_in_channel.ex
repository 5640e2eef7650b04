# expects: PS009 high line 9
defmodule ConsoleWeb.ShellChannel do
  use ShopWeb, :channel

  def join("shell:" <> host, _params, socket), do: {:ok, assign(socket, :host, host)}

  def handle_in("ping", %{"count" => count}, socket) do
    args = ["-c", to_string(count), socket.assigns.host]
    port = Port.open({:spawn_executable, "/bin/ping"}, [:binary, args: args])

    {:noreply, assign(socket, :port, port)}
  end

  def handle_info({_port, {:data, text}}, socket) do
    push(socket, "output", %{text: text})
    {:noreply, socket}
  end
end
