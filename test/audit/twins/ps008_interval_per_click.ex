# expects: nothing
defmodule ShopWeb.ClockLive do
  use ShopWeb, :live_view

  def mount(_params, _session, socket) do
    if connected?(socket), do: :timer.send_interval(1_000, self(), :tick)
    {:ok, assign(socket, now: nil, runs?: false)}
  end

  def handle_event("start", _params, socket) do
    {:noreply, assign(socket, runs?: true)}
  end

  def handle_info(:tick, socket), do: {:noreply, assign(socket, now: DateTime.utc_now())}
end
