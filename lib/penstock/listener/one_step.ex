defmodule Penstock.Listener.OneStep do
  # Connections that the acceptor itself gives to the process that serves them: those of
  # thousand_island, and those of TLS on each server, where `ssl` gives them to its own process.
  #
  #     acceptor:  accept (holds the permits) -> controlling_process(socket, pid)
  #                                              1. the permits become those of pid
  #                                              2. the socket becomes that of pid
  #
  # The acceptor remembers the socket and its permits in its process dictionary. At each moment one
  # process holds the permits, and its death frees them:
  #
  #   * The acceptor dies before step 1: it held them, and its socket is closed by its death.
  #   * The acceptor dies between the steps: `pid` holds them until it is dead, without a socket.
  #   * The acceptor dies after the steps, and before it has told the server of the connection: `pid`
  #     holds them until it is dead. Then neither thousand_island nor ranch knows of `pid`. So `pid`
  #     waits until its server stops. Without Penstock, it waits as long.
  #   * `pid` is dead before step 1: `Ask.entrust/2` frees them. Step 2 returns an error, and the
  #     socket is closed.
  #
  # In the other order, an acceptor that dies between the steps would leave a connection without
  # permits.
  #
  # A server that has no process for a connection closes it by `close/1` in the acceptor, which
  # gives the permits back. If the server does not even close it, the next `accept` closes it.
  @moduledoc false

  alias Penstock.Edge.Ask
  alias Penstock.Listener.{Accept, Config}

  @spec accept(Config.t(), term, timeout) :: {:ok, term} | {:error, term}
  def accept(config, listener, timeout) do
    with {socket, _permits} <- Process.get(__MODULE__), do: close(socket)

    with {:ok, socket, permits} <- Accept.accept(config, listener, timeout, :run) do
      Process.put(__MODULE__, {socket, permits})
      {:ok, socket}
    end
  end

  @spec controlling_process(term, pid) :: :ok | {:error, term}
  def controlling_process(socket, pid) do
    case Process.get(__MODULE__) do
      # An acceptor that serves the connection itself goes on holding the permits until it closes it.
      {^socket, permits} when pid != self() ->
        Process.delete(__MODULE__)
        Ask.entrust(permits, pid)
        give(socket, pid)

      _not_accepted_here ->
        :gen_tcp.controlling_process(socket, pid)
    end
  end

  # If `pid` is dead, no process will serve the connection. thousand_island does not look at the
  # error, so the socket would stay open, and the client would wait, as long as the acceptor lives.
  defp give(socket, pid) do
    with {:error, reason} <- :gen_tcp.controlling_process(socket, pid) do
      :gen_tcp.close(socket)
      {:error, reason}
    end
  end

  # Closes a socket, in any process. Only in the acceptor that accepted it last are there permits.
  # They are given back after the close, so that there are never more connections than permits.
  @spec close(term) :: :ok
  def close(socket) do
    :gen_tcp.close(socket)

    with {^socket, permits} <- Process.get(__MODULE__) do
      Process.delete(__MODULE__)
      Ask.give_back(permits)
    end

    :ok
  end
end
