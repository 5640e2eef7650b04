# expects: nothing
defmodule Feed.Consumer do
  use GenStage

  def start_link(opts), do: GenStage.start_link(__MODULE__, opts, name: __MODULE__)

  def init(_opts), do: {:consumer, %{handled: 0}}

  def handle_events(events, _from, state) do
    events
    |> Task.async_stream(&store/1, max_concurrency: 4)
    |> Stream.run()

    {:noreply, [], %{state | handled: state.handled + length(events)}}
  end

  defp store(event), do: Shop.Repo.insert!(event)
end
