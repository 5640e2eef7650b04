# expects: nothing
defmodule Mill.Grain do
  defstruct kind: nil
end

defmodule Mill.Form do
  def notify(message), do: Process.send(Mill.Worker, {__MODULE__, message}, [])
end

defmodule Mill.Worker do
  use GenServer

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  def cast(message), do: GenServer.cast(__MODULE__, message)
  def send_grain(grain), do: Process.send(__MODULE__, grain, [])
  def refresh, do: GenServer.call(__MODULE__, :refresh)

  @impl true
  def init(_opts) do
    send(self(), :warm_up)
    {:ok, %{}}
  end

  @impl true
  def handle_cast({:grind, grain}, state) do
    Mill.Stone.grind(grain)
    {:noreply, state}
  end

  @impl true
  def handle_info({Mill.Form, {:saved, grain}}, state) do
    Mill.Stone.grind(grain)
    {:noreply, state}
  end

  def handle_info(%Mill.Grain{kind: grain}, state) do
    Mill.Stone.grind(grain)
    {:noreply, state}
  end

  def handle_info({:turned, stone}, state) do
    Mill.Stone.grind(stone)
    {:noreply, state}
  end

  @impl true
  def handle_call(:refresh, _from, state), do: turn(handle_info({:turned, 1}, state))

  def handle_call({:turned, stone}, _from, state) do
    Mill.Stone.grind(stone)
    {:reply, :ok, state}
  end

  defp turn({:noreply, state}), do: handle_call({:turned, 1}, self(), state)
end

defmodule Mill.Sink do
  use GenServer

  def pour(water), do: GenServer.cast(__MODULE__, {:pour, water})

  @impl true
  def init(_opts), do: {:ok, %{}}

  @impl true
  def handle_cast(message, state) do
    Mill.Stone.grind(message)
    {:noreply, state}
  end

  @impl true
  def handle_info({:drained, _water}, state), do: {:noreply, state}

  def handle_info(message, state) do
    Mill.Stone.grind(message)
    {:noreply, state}
  end
end

defmodule Mill.Stone do
  def grind(thing), do: File.write!("/var/spool/mill", inspect(thing))
end
