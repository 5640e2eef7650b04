# expects: nothing
defmodule Alerts.Listener do
  use GenServer

  @interval 60_000

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(opts) do
    Process.send_after(self(), :report, @interval)
    {:ok, %{pager: opts[:pager], alerts: []}}
  end

  @impl true
  def handle_info({:alert, severity, text}, state) when severity in [:error, :critical] do
    {:noreply, %{state | alerts: Enum.take([{severity, text} | state.alerts], 100)}}
  end

  def handle_info(:report, state) do
    task = Task.async(fn -> Req.post!(state.pager, json: length(state.alerts)) end)
    Task.await(task, @interval)
    Process.send_after(self(), :report, @interval)
    {:noreply, %{state | alerts: []}}
  end

  def handle_info(_other, state), do: {:noreply, state}
end
