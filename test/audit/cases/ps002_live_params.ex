# expects: PS002 high line 13, PS004 medium line 21
defmodule ShopWeb.ProductLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, product: nil)}

  def handle_params(%{"id" => id}, _uri, socket) do
    {:noreply, socket |> assign(product: id) |> load_reviews(id)}
  end

  defp load_reviews(socket, id) do
    parent = self()
    Task.Supervisor.start_child(Shop.TaskSupervisor, fn -> send(parent, {:reviews, Shop.Repo.all({:reviews, id})}) end)
    socket
  end

  def handle_info({:reviews, reviews}, socket), do: {:noreply, assign(socket, reviews: reviews)}
end

defmodule Shop.TaskSupervisor do
  def child_spec(_opts), do: Supervisor.child_spec({Task.Supervisor, name: __MODULE__}, id: __MODULE__)
end
