# expects: PS002 high line 10
defmodule ShopWeb.SearchLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, query: "", results: [])}

  def handle_event("search", %{"q" => query}, socket) do
    live = self()

    Task.start(fn -> send(live, {:results, query, search(query)}) end)

    {:noreply, assign(socket, :query, query)}
  end

  def handle_info({:results, query, results}, socket) do
    if socket.assigns.query == query,
      do: {:noreply, assign(socket, :results, results)},
      else: {:noreply, socket}
  end

  defp search(query), do: Shop.Repo.all({:products, query})
end
