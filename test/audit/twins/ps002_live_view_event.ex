# expects: nothing
defmodule ShopWeb.SearchLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, query: "", results: [], searching: nil)}

  # One search at a time: while one runs, others only leave their words.
  def handle_event("search", %{"q" => query}, socket) do
    if is_nil(socket.assigns.searching) do
      live = self()
      {:ok, pid} = Task.start(fn -> send(live, {:results, query, search(query)}) end)
      {:noreply, assign(socket, query: query, searching: pid)}
    else
      {:noreply, assign(socket, :query, query)}
    end
  end

  def handle_info({:results, _query, results}, socket) do
    {:noreply, assign(socket, results: results, searching: nil)}
  end

  defp search(query), do: Shop.Repo.all({:products, query})
end
