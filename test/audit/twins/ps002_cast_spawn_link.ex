# expects: nothing
defmodule Metrics.Collector do
  use GenServer

  @most 25

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def report(point), do: GenServer.cast(__MODULE__, {:report, point})

  @impl true
  def init(opts), do: {:ok, %{url: opts[:url], senders: %{}, dropped: 0}}

  @impl true
  def handle_cast({:report, point}, %{senders: senders} = state) when map_size(senders) < @most do
    {pid, ref} = spawn_monitor(fn -> Req.post!(state.url, json: point) end)
    {:noreply, %{state | senders: Map.put(senders, ref, pid)}}
  end

  def handle_cast({:report, _point}, state), do: {:noreply, %{state | dropped: state.dropped + 1}}

  @impl true
  def handle_info({:DOWN, ref, :process, _pid, _reason}, state) do
    {:noreply, %{state | senders: Map.delete(state.senders, ref)}}
  end
end
