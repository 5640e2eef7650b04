# expects: nothing
defmodule Queue.Consumer do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts)

  @impl true
  def init(opts), do: {:ok, %{queue: opts[:queue]}}

  # A second start of the one policy fails.
  @impl true
  def handle_info({:deliver, payload}, state) do
    Queue.Policy.start_link(state.queue)
    send(Queue.Policy, {:deliver, payload})
    {:noreply, state}
  end
end

defmodule Queue.Policy do
  use GenServer

  def start_link(queue), do: GenServer.start_link(__MODULE__, queue, name: __MODULE__)

  @impl true
  def init(queue), do: {:ok, queue}
end
