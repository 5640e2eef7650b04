# expects: PS010 high line 12, PS010 medium line 25
defmodule Queue.Consumer do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts)

  @impl true
  def init(opts), do: {:ok, %{queue: opts[:queue], policy: opts[:policy]}}

  @impl true
  def handle_info({:deliver, payload}, state) do
    {:ok, pid} = Queue.Delivery.start_link(payload)
    send(pid, :go)
    {:noreply, state}
  end

  # There is one policy for a consumer, which a second start fails to start again.
  def handle_info({:apply, payload}, %{queue: queue} = state) do
    pid = policy(queue)
    send(pid, {:go, payload})
    {:noreply, state}
  end

  defp policy(_queue) do
    case Queue.Policy.start_link(:consumer) do
      {:ok, pid} -> pid
      {:error, {:already_started, pid}} -> pid
    end
  end
end

defmodule Queue.Delivery do
  use GenServer

  def start_link(payload), do: GenServer.start_link(__MODULE__, payload)

  @impl true
  def init(payload), do: {:ok, payload}
end

defmodule Queue.Policy do
  use GenServer

  def start_link(queue), do: GenServer.start_link(__MODULE__, queue, name: {:global, {__MODULE__, queue}})

  @impl true
  def init(queue), do: {:ok, queue}
end
