defmodule Penstock.Listener.Lingering do
  # Refused connections that are closed later. A client that connects again as soon as it is refused
  # is slowed down by this: otherwise its next connection waits for the acceptors at once, and takes
  # their time from other clients. Runs in the acceptor, which owns the sockets: so they need no
  # process, and the death of the acceptor closes them.
  #
  # The acceptor keeps them in its process dictionary, in the order of their ends. It closes them
  # before each accept, and accepts with a timeout that ends with the next one. An acceptor that does
  # something else meanwhile closes them when it accepts again.
  @moduledoc false

  alias Penstock.Native

  # The part of the sockets of the VM that can linger, in all listeners.
  @part 4

  # Creates the pool that bounds how many sockets of the VM linger. Called when the application
  # starts; the pool outlives a restart of the application.
  @spec create() :: :ok
  def create do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      settings = %{limit: div(most(), @part), max_waiting: 0, max_overdraft: :limit, held_longer_than: 0}
      :persistent_term.put(__MODULE__, Native.pool_new(settings))
    end

    :ok
  end

  # Returns how many sockets the VM can have: each is a port and a file descriptor.
  defp most do
    descriptors = for set <- List.wrap(:erlang.system_info(:check_io)), {:max_fds, max} <- List.wrap(set), do: max
    Enum.min([:erlang.system_info(:port_limit) | descriptors])
  end

  # Keeps a socket open for `ms`, and then ends it by `close`. Returns `false` if as many sockets
  # linger as can.
  @spec keep_open(:gen_tcp.socket(), pos_integer, (:gen_tcp.socket() -> term)) :: boolean
  def keep_open(socket, ms, close) do
    case Native.run_try(:persistent_term.get(__MODULE__), 1) do
      refused when refused in [:full, :closed, :again] ->
        false

      instance ->
        Process.put(__MODULE__, :queue.in({now() + ms, socket, close, instance}, queue()))
        true
    end
  end

  # Ends all sockets that linger in the calling acceptor, because the VM is out of sockets.
  @spec end_all() :: :ok
  def end_all do
    with queue when queue != nil <- Process.delete(__MODULE__),
         do: queue |> :queue.to_list() |> Enum.each(&end_one/1)

    :ok
  end

  # Ends the sockets whose time is over. Returns the ms until the next one; `:infinity` if none
  # lingers.
  @spec end_due() :: timeout
  def end_due do
    case Process.get(__MODULE__) do
      nil -> :infinity
      queue -> end_due(queue, now())
    end
  end

  defp end_due(queue, now) do
    case :queue.peek(queue) do
      {:value, {due, _socket, _close, _instance} = first} when due <= now ->
        end_one(first)
        end_due(:queue.drop(queue), now)

      {:value, {due, _socket, _close, _instance}} ->
        Process.put(__MODULE__, queue)
        due - now

      :empty ->
        Process.delete(__MODULE__)
        :infinity
    end
  end

  # The socket comes first, so that there are never more sockets than permits.
  defp end_one({_due, socket, close, instance}) do
    close.(socket)
    Native.run_end(:persistent_term.get(__MODULE__), instance, 1)
  end

  defp queue, do: Process.get(__MODULE__) || :queue.new()
  defp now, do: System.monotonic_time(:millisecond)
end
