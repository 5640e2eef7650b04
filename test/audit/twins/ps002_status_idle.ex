# expects: nothing
defmodule Train.Server do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @impl true
  def init(_opts), do: {:ok, %{task: nil}}

  @impl true
  def handle_call({:train, model}, _from, %{task: nil} = state) do
    {:ok, pid} = Task.start(fn -> Shop.Repo.all(model) end)
    {:reply, :ok, %{state | task: pid}}
  end

  def handle_call({:train, _model}, _from, state), do: {:reply, :busy, state}
end
