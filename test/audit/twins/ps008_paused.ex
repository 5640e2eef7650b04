# expects: nothing
defmodule Repo.Poller do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{timer: nil}}

  @impl true
  def handle_cast(:resume, state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    {:noreply, %{state | timer: schedule()}}
  end

  @impl true
  def handle_info(:poll, state), do: {:noreply, %{state | timer: schedule()}}

  defp schedule, do: Process.send_after(self(), :poll, 1_000)
end
