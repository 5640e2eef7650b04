# expects: PS010 high line 13
defmodule Call.Center do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)
  def ring(number), do: GenServer.call(__MODULE__, {:ring, number})

  @impl true
  def init(_opts), do: {:ok, %{calls: []}}

  @impl true
  def handle_call({:ring, number}, _from, state) do
    {:ok, pid} = Call.Line.start_link(number)
    {:reply, {:ok, pid}, %{state | calls: [pid | state.calls]}}
  end
end

defmodule Call.Line do
  use GenServer

  def start_link(number), do: GenServer.start_link(__MODULE__, number)

  @impl true
  def init(number), do: {:ok, %{number: number, since: System.monotonic_time()}}
end
