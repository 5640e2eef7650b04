# expects: PS002 high line 13
defmodule Metrics.Collector do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def report(point), do: GenServer.cast(__MODULE__, {:report, point})

  @impl true
  def init(opts), do: {:ok, %{url: opts[:url], sent: 0}}

  @impl true
  def handle_cast({:report, point}, state) do
    spawn_link(fn -> Req.post!(state.url, json: point) end)
    {:noreply, %{state | sent: state.sent + 1}}
  end

  def handle_cast(:reset, state), do: {:noreply, %{state | sent: 0}}
end
