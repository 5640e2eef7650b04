# expects: nothing
defmodule Bus.Engine do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts) do
    schedule(self())
    tidy_later()
    {:ok, %{}}
  end

  @impl true
  def handle_info(:update, state) do
    schedule(self())
    {:noreply, state}
  end

  def handle_info(:tidy, state) do
    tidy_later()
    {:noreply, state}
  end

  defp schedule(pid), do: Process.send_after(pid, :update, 1_000)
  defp tidy_later, do: Process.send_after(__MODULE__, :tidy, 60_000)
end
