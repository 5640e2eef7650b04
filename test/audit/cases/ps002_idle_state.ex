# expects: PS002 medium line 12, PS002 high line 17
defmodule Symbol.Index do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{indexing: false, files: []}}

  @impl true
  def handle_cast(:built, %{indexing: false} = state) do
    Task.start_link(fn -> File.ls!(".") end)
    {:noreply, %{state | indexing: true}}
  end

  def handle_cast({:changed, file}, state) do
    Task.start_link(fn -> File.read!(file) end)
    {:noreply, state}
  end
end
