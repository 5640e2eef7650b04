# expects: PS001 high line 16
defmodule Crawl.Dispatcher do
  use GenServer

  @most 8

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{running: %{}}}

  @impl true
  def handle_cast({:crawl, pages}, state) do
    now = Enum.uniq(pages)

    Enum.each(now, fn page -> Task.start(fn -> Req.get(page) end) end)
    {:noreply, note(state, now, @most)}
  end

  defp note(state, now, _most), do: %{state | running: now}
end
