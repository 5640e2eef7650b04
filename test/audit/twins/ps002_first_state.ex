# expects: nothing
defmodule Store.Starter do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, nil}

  @impl true
  def handle_call(:start, _from, nil) do
    {:ok, pid} = DynamicSupervisor.start_child(Store.Children, %{id: Store, start: {Store, :start_link, []}})
    {:reply, {:ok, pid}, pid}
  end

  def handle_call(:start, _from, pid), do: {:reply, {:ok, pid}, pid}
end
