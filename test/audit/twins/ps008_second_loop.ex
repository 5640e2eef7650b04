# expects: nothing
defmodule Feed.Poller do
  use GenServer

  @interval 30_000

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def refresh, do: GenServer.call(__MODULE__, :refresh)

  @impl true
  def init(opts) do
    send(self(), :poll)
    {:ok, %{url: opts[:url], body: nil}}
  end

  @impl true
  def handle_call(:refresh, _from, state) do
    {:reply, :ok, fetch(state)}
  end

  @impl true
  def handle_info(:poll, state) do
    # One loop, which the start has begun.
    Process.send_after(self(), :poll, @interval)
    {:noreply, fetch(state)}
  end

  defp fetch(state) do
    {:ok, %{body: body}} = Req.get(state.url)
    %{state | body: body}
  end
end
