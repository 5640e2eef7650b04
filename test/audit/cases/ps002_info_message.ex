# expects: PS002 high line 15
defmodule Alerts.Listener do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(opts) do
    Phoenix.PubSub.subscribe(Alerts.PubSub, opts[:topic])
    {:ok, %{pager: opts[:pager]}}
  end

  @impl true
  def handle_info({:alert, severity, text}, state) when severity in [:error, :critical] do
    Task.start_link(fn -> page(state.pager, severity, text) end)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp page(pager, severity, text), do: Req.post!(pager, json: %{severity: severity, text: text})
end
