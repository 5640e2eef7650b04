# expects: nothing
defmodule Map.Pool do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts)

  @impl true
  def init(opts), do: {:ok, opts}

  @impl true
  def handle_info(event, state), do: {:noreply, Map.Pool.Events.handle_event(event, state)}
end

defmodule Map.Pool.Events do
  def handle_event(:refresh, state) do
    Shop.Repo.all(:maps)
    state
  end
end
