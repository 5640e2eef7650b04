# expects: nothing
defmodule Symbol.Index do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{running?: false, files: []}}

  @impl true
  def handle_cast(:built, state), do: {:noreply, index(state)}

  defp index(state) do
    cond do
      state.files == [] ->
        state

      not state.running? ->
        Task.start_link(fn -> File.ls!(".") end)
        %{state | running?: true}

      true ->
        state
    end
  end
end
