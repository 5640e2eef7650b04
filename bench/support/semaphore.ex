defmodule Penstock.Bench.Semaphore do
  @moduledoc false
  # A semaphore by OTP's own means: one process that monitors holders and queues waiters. It is as
  # quick as such a process can be. A release is a cast, and the server answers the next waiter
  # before it removes the monitor of the last holder. A waiter that ends is searched for in the
  # queue.

  use GenServer

  def start_link(name, limit \\ 1), do: GenServer.start_link(__MODULE__, limit, name: name)
  def acquire(name), do: GenServer.call(name, :acquire, :infinity)
  def release(name), do: GenServer.cast(name, {:release, self()})

  @doc "Returns the number of waiters."
  def waiting(name), do: GenServer.call(name, :waiting, :infinity)

  @doc """
  Asks for a permit as `acquire/1` does, and takes the request back at once.

  The caller must know that no permit is free.
  """
  def give_up(name) do
    ref = make_ref()
    send(Process.whereis(name), {:"$gen_call", {self(), ref}, :acquire})
    GenServer.call(name, :cancel, :infinity)
  end

  @impl true
  def init(free), do: {:ok, %{free: free, held: %{}, queue: :queue.new()}}

  @impl true
  def handle_call(:acquire, {pid, _} = from, state) do
    monitor = Process.monitor(pid)

    if state.free > 0 do
      {:reply, :ok, %{state | free: state.free - 1, held: Map.put(state.held, pid, monitor)}}
    else
      {:noreply, %{state | queue: :queue.in({from, monitor}, state.queue)}}
    end
  end

  def handle_call(:waiting, _from, state), do: {:reply, :queue.len(state.queue), state}

  def handle_call(:cancel, {pid, _}, state) do
    {:reply, :ok, %{state | queue: without(pid, state.queue)}}
  end

  @impl true
  def handle_cast({:release, pid}, state), do: {:noreply, give_back(pid, state)}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    state = if is_map_key(state.held, pid), do: state, else: %{state | queue: without(pid, state.queue)}
    {:noreply, give_back(pid, state)}
  end

  defp without(pid, queue) do
    :queue.filter(
      fn
        {{^pid, _}, monitor} -> not Process.demonitor(monitor, [:flush])
        _other -> true
      end,
      queue
    )
  end

  defp give_back(pid, state) do
    case Map.pop(state.held, pid) do
      {nil, _} ->
        state

      {monitor, held} ->
        state = next(%{state | held: held})
        Process.demonitor(monitor, [:flush])
        state
    end
  end

  defp next(state) do
    case :queue.out(state.queue) do
      {{:value, {{pid, _} = from, monitor}}, queue} ->
        GenServer.reply(from, :ok)
        %{state | queue: queue, held: Map.put(state.held, pid, monitor)}

      {:empty, _} ->
        %{state | free: state.free + 1}
    end
  end
end
