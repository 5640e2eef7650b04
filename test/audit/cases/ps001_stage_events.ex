# expects: PS001 medium line 11
defmodule Feed.Consumer do
  use GenStage

  def start_link(opts), do: GenStage.start_link(__MODULE__, opts, name: __MODULE__)

  def init(_opts), do: {:consumer, %{handled: 0}}

  def handle_events(events, _from, state) do
    Enum.each(events, fn event ->
      Task.start(fn -> store(event) end)
    end)

    {:noreply, [], %{state | handled: state.handled + length(events)}}
  end

  defp store(event), do: Shop.Repo.insert!(event)
end
