# expects: PS002 high line 14, PS002 medium line 20, PS002 medium line 29, PS002 medium line 38
defmodule Post.Worker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def list, do: GenServer.call(__MODULE__, {:list, :all})

  @impl true
  def init(_opts), do: {:ok, %{}}

  # A request makes a function send this.
  @impl true
  def handle_cast({:letter, letter}, state) do
    Task.start(fn -> Post.Letters.deliver(letter) end)
    {:noreply, state}
  end

  # The application alone sends this.
  def handle_cast({:count, number}, state) do
    Task.start(fn -> Post.Letters.deliver(inspect(number)) end)
    {:noreply, state}
  end

  @impl true
  def handle_call({:list, which}, from, state), do: handle_call({:read, which}, from, state)

  # A request reaches the clause before this one alone.
  def handle_call({:write, which}, _from, state) do
    Task.start(fn -> Post.Letters.deliver(inspect(which)) end)
    {:reply, :ok, state}
  end

  def handle_call({:read, _which}, _from, state), do: {:reply, Map.keys(state), state}

  # No function of the project sends this.
  @impl true
  def handle_info({:bounced, letter}, state) do
    Task.start(fn -> Post.Letters.deliver(letter) end)
    {:noreply, state}
  end
end
