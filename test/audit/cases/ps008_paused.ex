# expects: PS008 medium line 23
defmodule Repo.Poller do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{paused: true}}

  @impl true
  def handle_cast(:resume, %{paused: true} = state) do
    schedule()
    {:noreply, %{state | paused: false}}
  end

  @impl true
  def handle_info(:poll, state) do
    schedule()
    {:noreply, state}
  end

  # A pause that ends within the interval leaves a second loop.
  defp schedule, do: Process.send_after(self(), :poll, 1_000)
end
