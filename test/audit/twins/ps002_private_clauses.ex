# expects: nothing
defmodule Inventory.Store do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{}, {:continue, :load}}

  # Once for each start of the server.
  @impl true
  def handle_continue(:load, state) do
    store = self()
    Task.start_link(fn -> send(store, {:loaded, Shop.Repo.all(:stock)}) end)
    {:noreply, state}
  end

  @impl true
  def handle_cast(event, state), do: {:noreply, apply_event(event, state)}

  defp apply_event({:sold, sku, amount}, state), do: Map.update(state, sku, -amount, &(&1 - amount))
  defp apply_event({:received, sku, amount}, state), do: Map.update(state, sku, amount, &(&1 + amount))

  @impl true
  def handle_info({:loaded, rows}, state), do: {:noreply, Enum.into(rows, state)}
end
