# expects: nothing
defmodule Call.Center do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def ring(number), do: GenServer.call(__MODULE__, {:ring, number})

  # The lines are there from the start on.
  @impl true
  def init(_opts) do
    lines = for number <- 1..8, do: elem(Call.Line.start_link(number), 1)
    {:ok, %{free: lines}}
  end

  @impl true
  def handle_call({:ring, _number}, _from, %{free: []} = state), do: {:reply, {:error, :busy}, state}

  def handle_call({:ring, _number}, _from, %{free: [line | rest]} = state),
    do: {:reply, {:ok, line}, %{state | free: rest}}
end

defmodule Call.Line do
  use GenServer

  def start_link(number), do: GenServer.start_link(__MODULE__, number)

  @impl true
  def init(number), do: {:ok, %{number: number, since: System.monotonic_time()}}
end
