# expects: PS008 high line 18
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
    Process.send_after(self(), :poll, 0)
    {:reply, :ok, state}
  end

  @impl true
  def handle_info(:poll, state) do
    {:ok, %{body: body}} = Req.get(state.url)
    # Each refresh has begun a loop of its own, which never ends.
    Process.send_after(self(), :poll, @interval)
    {:noreply, %{state | body: body}}
  end
end
