# expects: nothing
defmodule Draft.Saver do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def changed(text), do: GenServer.cast(__MODULE__, {:changed, text})

  @impl true
  def init(_opts), do: {:ok, %{text: "", timer: nil}}

  @impl true
  def handle_cast({:changed, text}, state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    timer = Process.send_after(self(), :save, 60_000)
    {:noreply, %{state | text: text, timer: timer}}
  end

  @impl true
  def handle_info(:save, state) do
    Shop.Repo.insert!(%{draft: state.text})
    {:noreply, %{state | timer: nil}}
  end
end
