# expects: PS008 medium line 13
defmodule Draft.Saver do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def changed(text), do: GenServer.cast(__MODULE__, {:changed, text})

  @impl true
  def init(_opts), do: {:ok, %{text: ""}}

  @impl true
  def handle_cast({:changed, text}, state) do
    Process.send_after(self(), :save, 60_000)
    {:noreply, %{state | text: text}}
  end

  @impl true
  def handle_info(:save, state) do
    Shop.Repo.insert!(%{draft: state.text})
    {:noreply, state}
  end
end
