# expects: PS002 high line 28
defmodule Map.Pool do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts)

  @impl true
  def init(opts), do: {:ok, Map.Pool.Events.begin(opts)}

  @impl true
  def handle_info(event, state), do: {:noreply, Map.Pool.Events.handle_event(event, state)}
end

defmodule Map.Pool.Events do
  def begin(state) do
    Process.send_after(self(), :refresh, 60_000)
    state
  end

  # The one timer of the pool.
  def handle_event(:refresh, state) do
    Process.send_after(self(), :refresh, 60_000)
    Task.start(fn -> Shop.Repo.all(:maps) end)
    state
  end

  def handle_event({:joined, user}, state) do
    Task.start(fn -> Shop.Repo.get(:users, user) end)
    state
  end
end
