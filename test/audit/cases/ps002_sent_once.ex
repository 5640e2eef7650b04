# expects: PS002 medium line 19, PS002 high line 24
defmodule Block.Broadcaster do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  def note(user), do: GenServer.cast(__MODULE__, {:note, user})

  # Each block is told of once.
  def broadcast(block) do
    if not already_told?(block), do: GenServer.cast(__MODULE__, {:block, block})
  end

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_cast({:block, block}, state) do
    Task.start(fn -> Shop.Repo.insert!(block) end)
    {:noreply, state}
  end

  def handle_cast({:note, user}, state) do
    Task.start(fn -> Shop.Repo.insert!(user) end)
    {:noreply, state}
  end

  defp already_told?(block), do: :ets.member(__MODULE__, block)
end
