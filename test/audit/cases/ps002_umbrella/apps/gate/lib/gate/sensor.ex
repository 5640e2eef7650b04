# expects: nothing
defmodule Gate.Sensor do
  use GenServer

  alias Core.Events

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def passed(ticket), do: GenServer.cast(__MODULE__, {:passed, ticket})

  @impl true
  def init(_opts), do: {:ok, 0}

  @impl true
  def handle_cast({:passed, ticket}, count) do
    Events.publish("passed", %{ticket: ticket})
    {:noreply, count + 1}
  end
end
