# expects: nothing
defmodule ConsoleWeb.ShellChannel do
  use ShopWeb, :channel

  def join("shell:" <> host, _params, socket), do: {:ok, assign(socket, :host, host)}

  def handle_in("ping", _params, socket) do
    send(Console.Pinger, {:ping, socket.assigns.host, self()})
    {:noreply, socket}
  end

  def handle_info({:output, text}, socket) do
    push(socket, "output", %{text: text})
    {:noreply, socket}
  end
end

defmodule Console.Pinger do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts) do
    {:ok, Port.open({:spawn_executable, "/usr/sbin/fping"}, [:binary, args: ["-l"]])}
  end

  @impl true
  def handle_info({:ping, host, _from}, port) do
    Port.command(port, host <> "\n")
    {:noreply, port}
  end
end
