# expects: nothing
defmodule Post.Worker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def list, do: GenServer.call(__MODULE__, {:list, :all})

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_cast({:letter, letter}, state) do
    Post.Letters.deliver(letter)
    {:noreply, state}
  end

  @impl true
  def handle_call({:list, _which}, _from, state), do: {:reply, Map.keys(state), state}
end
