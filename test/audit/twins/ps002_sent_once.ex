# expects: nothing
defmodule Block.Broadcaster do
  use GenServer

  @room 100

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  def broadcast(block) do
    if waiting() < @room, do: GenServer.cast(__MODULE__, {:block, block})
  end

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_cast({:block, block}, state) do
    Task.start(fn -> Shop.Repo.insert!(block) end)
    {:noreply, state}
  end

  defp waiting, do: __MODULE__ |> Process.whereis() |> Process.info(:message_queue_len) |> elem(1)
end
