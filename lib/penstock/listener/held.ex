defmodule Penstock.Listener.Held do
  # Refused connections that are closed later. A client that connects again as soon as it is refused
  # is slowed down by this: otherwise its next connection waits for the acceptors at once, and takes
  # their time from other clients. Runs in the acceptor, which owns the sockets: so they need no
  # process, and the death of the acceptor closes them.
  #
  # The acceptor keeps them in its process dictionary, in the order of their ends. It ends them
  # before each accept, and accepts with a timeout that ends with the next one.
  @moduledoc false

  alias Penstock.Native

  # The share of the file descriptors of the VM that held sockets can have, in all listeners.
  @share 4

  # Creates the pool that bounds how many sockets of the VM are held. Called when the application
  # starts; the pool outlives a restart of the application.
  @spec create() :: :ok
  def create do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      settings = %{limit: div(most(), @share), max_waiting: 0, max_overdraft: :limit, held_longer_than: 0}
      :persistent_term.put(__MODULE__, Native.pool_new(settings))
    end

    :ok
  end

  # Returns how many sockets the VM can have: each is a port and a file descriptor.
  defp most do
    descriptors = for set <- List.wrap(:erlang.system_info(:check_io)), {:max_fds, max} <- List.wrap(set), do: max
    Enum.min([:erlang.system_info(:port_limit) | descriptors])
  end

  # Holds a socket for `ms`. Returns `false` if as many sockets are held as can be.
  @spec hold(:gen_tcp.socket(), pos_integer) :: boolean
  def hold(socket, ms) do
    case Native.run_try(:persistent_term.get(__MODULE__), 1) do
      refused when refused in [:full, :closed, :again] ->
        false

      instance ->
        Process.put(__MODULE__, :queue.in({now() + ms, socket, instance}, queue()))
        true
    end
  end

  # Ends all sockets that the caller holds by `close`, because the VM is out of file descriptors.
  @spec end_all((:gen_tcp.socket() -> term)) :: :ok
  def end_all(close) do
    with queue when queue != nil <- Process.delete(__MODULE__),
         do: queue |> :queue.to_list() |> Enum.each(&end_one(&1, close))

    :ok
  end

  # Ends the sockets whose time is over by `close`. Returns the ms until the next one; `:infinity` if
  # none is held.
  @spec end_due((:gen_tcp.socket() -> term)) :: timeout
  def end_due(close) do
    case Process.get(__MODULE__) do
      nil -> :infinity
      queue -> end_due(queue, now(), close)
    end
  end

  defp end_due(queue, now, close) do
    case :queue.peek(queue) do
      {:value, {due, _socket, _instance} = held} when due <= now ->
        end_one(held, close)
        end_due(:queue.drop(queue), now, close)

      {:value, {due, _socket, _instance}} ->
        Process.put(__MODULE__, queue)
        due - now

      :empty ->
        Process.delete(__MODULE__)
        :infinity
    end
  end

  # The socket comes first, so that there are never more sockets than permits.
  defp end_one({_due, socket, instance}, close) do
    close.(socket)
    Native.run_end(:persistent_term.get(__MODULE__), instance, 1)
  end

  defp queue, do: Process.get(__MODULE__) || :queue.new()
  defp now, do: System.monotonic_time(:millisecond)
end
