# expects: nothing
defmodule Bridge.Panel do
  use Phoenix.LiveView

  def handle_event("restart", params, socket) do
    child = {Bridge.Worker, params}
    {:ok, _pid} = DynamicSupervisor.start_child(Bridge.Workers, child)
    {:noreply, socket}
  end
end

defmodule Bridge.Worker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(opts), do: {:ok, opts}
end
