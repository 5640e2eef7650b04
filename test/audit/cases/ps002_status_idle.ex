# expects: PS002 medium line 12, PS002 high line 17
defmodule Train.Server do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{status: :idle, runs: 0}}

  @impl true
  def handle_call({:train, model}, _from, %{status: :idle} = state) do
    Task.start(fn -> Shop.Repo.all(model) end)
    {:reply, :ok, %{state | status: :busy}}
  end

  def handle_call({:note, text}, _from, state) do
    Task.start(fn -> Shop.Repo.insert!(text) end)
    {:reply, :ok, state}
  end
end
