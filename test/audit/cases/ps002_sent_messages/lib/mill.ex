# expects: PS002 high line 29, PS002 high line 36, PS002 high line 41, PS002 high line 46, PS002 high line 55, PS002 high line 73, PS002 medium line 82
defmodule Mill.Grain do
  defstruct kind: nil
end

defmodule Mill.Form do
  def notify(message), do: Process.send(Mill.Worker, {__MODULE__, message}, [])
end

defmodule Mill.Worker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  # Callers pass a message on by this.
  def cast(message), do: GenServer.cast(__MODULE__, message)
  def send_grain(grain), do: Process.send(__MODULE__, grain, [])
  def refresh, do: GenServer.call(__MODULE__, :refresh)

  @impl true
  def init(_opts) do
    send(self(), :warm_up)
    {:ok, %{}}
  end

  # A request makes the function cast/1 send this.
  @impl true
  def handle_cast({:grind, grain}, state) do
    Task.start(fn -> Mill.Stone.grind(grain) end)
    {:noreply, state}
  end

  # A message by the name of its module.
  @impl true
  def handle_info({Mill.Form, {:saved, grain}}, state) do
    Task.start(fn -> Mill.Stone.grind(grain) end)
    {:noreply, state}
  end

  def handle_info(%Mill.Grain{kind: grain}, state) do
    Task.start(fn -> Mill.Stone.grind(grain) end)
    {:noreply, state}
  end

  def handle_info({:turned, stone}, state) do
    Task.start(fn -> Mill.Stone.grind(stone) end)
    {:noreply, state}
  end

  # A callback that calls another one directly.
  @impl true
  def handle_call(:refresh, _from, state), do: turn(handle_info({:turned, 1}, state))

  def handle_call({:turned, stone}, _from, state) do
    Task.start(fn -> Mill.Stone.grind(stone) end)
    {:reply, :ok, state}
  end

  defp turn({:noreply, state}), do: handle_call({:turned, 1}, self(), state)
end

# The one clause takes all messages.
defmodule Mill.Sink do
  use GenServer

  def pour(water), do: GenServer.cast(__MODULE__, {:pour, water})

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_cast(message, state) do
    Task.start(fn -> Mill.Stone.grind(message) end)
    {:noreply, state}
  end

  @impl true
  def handle_info({:drained, _water}, state), do: {:noreply, state}

  # No function of the project sends another message.
  def handle_info(message, state) do
    Task.start(fn -> Mill.Stone.grind(message) end)
    {:noreply, state}
  end
end

defmodule Mill.Stone do
  def grind(thing), do: File.write!("/var/spool/mill", inspect(thing))
end
