# expects: PS008 high line 8
defmodule ShopWeb.ClockLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket), do: {:ok, assign(socket, now: nil)}

  def handle_event("start", _params, socket) do
    :timer.send_interval(1_000, self(), :tick)
    {:noreply, socket}
  end

  def handle_info(:tick, socket), do: {:noreply, assign(socket, now: DateTime.utc_now())}
end
