# expects: PS007 high line 6
defmodule GameWeb.TableChannel do
  use ShopWeb, :channel

  def join("table:" <> id, _params, socket) do
    table = :"table_#{id}"
    if Process.whereis(table) == nil, do: Game.Table.open(table)
    {:ok, assign(socket, :table, table)}
  end

  def handle_in("bet", %{"amount" => amount}, socket) do
    GenServer.cast(socket.assigns.table, {:bet, amount})
    {:noreply, socket}
  end
end

defmodule Game.Table do
  def open(name), do: :ets.insert(:tables, {name, :open})
end
