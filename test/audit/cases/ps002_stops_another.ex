# expects: PS002 medium line 8, PS002 high line 15, PS002 high line 25
defmodule GameWeb.MatchLive do
  use ShopWeb, :live_view

  # The process lives as long as the stop lasts.
  def handle_event("end", _params, socket) do
    match = socket.assigns.match
    Task.start(fn -> GenServer.stop(match, :normal, 5_000) end)
    {:noreply, socket}
  end

  def handle_event("result", %{"score" => score}, socket) do
    match = socket.assigns.match

    Task.start(fn ->
      Shop.Repo.insert!(%{score: score})
      GenServer.stop(match)
    end)

    {:noreply, socket}
  end

  # An account is no process.
  def handle_event("close", %{"account" => id}, socket) do
    Task.start(fn -> Shop.Accounts.close_account(id) end)
    {:noreply, socket}
  end
end
