defmodule Penstock.Listener.TwoSteps do
  # Connections of ranch. Its acceptor gives a socket to a supervisor (`ranch_conns_sup`), which
  # starts the process that serves the connection, and gives it the socket:
  #
  #     acceptor:    accept (offers the permits) -> controlling_process(socket, supervisor)
  #                                                 writes a row with the offer
  #                  tells the supervisor, and waits for its answer
  #     supervisor:  starts pid -> controlling_process(socket, pid)
  #                                1. takes the row, and claims the offer
  #                                2. the permits become those of pid, then the socket
  #                  answers the acceptor
  #
  # The acceptor offers, because the supervisor goes on when the acceptor is dead. If the acceptor
  # gave the permits to the supervisor, and was killed before it told the supervisor, the
  # supervisor would hold them for good. At each moment one process answers for the permits:
  #
  #   * The acceptor dies before the claim: that revokes the offer. The supervisor then gets
  #     `:revoked`, and returns an error, by which ranch closes the socket and kills `pid`.
  #   * The acceptor dies after the claim: the supervisor or `pid` holds them.
  #   * The supervisor dies before the claim: the acceptor, which monitors it, dies too.
  #   * The supervisor dies after the claim: it held them, or `pid` does, which is linked to it.
  #   * `pid` is dead before step 2: `Ask.entrust/2` frees them.
  #   * `pid` was never started: ranch calls `close/1` in the supervisor, which retracts the offer.
  #
  # ranch answers the acceptor before that `close/1`. So the acceptor also retracts its last offer
  # when it accepts the next connection, because it can have one offer in a pool. Offers have
  # numbers. So of a claim and two retractions of one offer, the first one counts, and the others
  # do not touch the next offer. A row belongs to one socket, so any number of acceptors and
  # supervisors can do this at once.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Edge.{Ask, Table}
  alias Penstock.Listener.{Accept, Config}
  alias Penstock.Native

  @spec accept(Config.t(), term, timeout) :: {:ok, term} | {:error, term}
  def accept(config, listener, timeout) do
    case Process.put(__MODULE__, :accepting) do
      nil -> sweep()
      :accepting -> :ok
      {_socket, permits} -> retract(permits)
    end

    with {:ok, socket, permits} <- Accept.accept(config, listener, timeout, :spawn) do
      Process.put(__MODULE__, {socket, permits})
      {:ok, socket}
    end
  end

  @spec controlling_process(term, pid) :: :ok | {:error, term}
  def controlling_process(socket, pid) do
    case Process.get(__MODULE__) do
      {^socket, permits} ->
        :ets.insert(Table, {key(socket), self(), permits})
        :gen_tcp.controlling_process(socket, pid)

      _not_the_acceptor ->
        with :ok <- pass_on(:ets.take(Table, key(socket)), pid), do: :gen_tcp.controlling_process(socket, pid)
    end
  end

  # Passes the permits of a connection to the process that serves it.
  defp pass_on([{_key, _acceptor, {_ref, [], _permits}}], _pid), do: :ok

  defp pass_on([{_key, acceptor, {ref, offer, permits}}], pid) do
    case Native.start_claim(ref, offer, acceptor) do
      no when no in [:revoked, :badarg] -> {:error, :closed}
      held -> Ask.entrust({ref, held, permits}, pid)
    end
  end

  # A supervisor of ranch without a row meets a socket that `sweep/0` is about to close. Any other
  # process has served the connection, and gives its socket away.
  defp pass_on([], _pid) do
    case Process.get(:"$initial_call") do
      {:ranch_conns_sup, _init, _arity} -> {:error, :closed}
      _other -> :ok
    end
  end

  # Closes a socket, in any process, and frees permits that no process has claimed.
  @spec close(term) :: :ok
  def close(socket) do
    :gen_tcp.close(socket)
    for {_key, _acceptor, permits} <- :ets.take(Table, key(socket)), do: retract(permits)

    with {^socket, permits} <- Process.get(__MODULE__) do
      Process.put(__MODULE__, :accepting)
      retract(permits)
    end

    :ok
  end

  @spec retract(Admission.permits()) :: :ok
  defp retract({_ref, [], _permits}), do: :ok

  defp retract({ref, offer, _permits}) do
    Native.spawn_retract(ref, offer)
    :ok
  end

  # Removes the rows of dead acceptors, when an acceptor accepts for the first time. An acceptor
  # writes one row at a time. If a kill ends the acceptor before it has told its supervisor, the row
  # stays. So the table has at most one row for each living acceptor, and one for each acceptor that
  # died since the last sweep. While a listener is suspended, none of its acceptors sweeps.
  #
  # The supervisor owns the socket of such a row, and does not know of it. So it is closed here. If
  # the supervisor does know, its claim would be revoked, because the acceptor is dead. Of the two
  # processes, one takes the row.
  defp sweep do
    for [socket, acceptor] <- :ets.match(Table, {key(:"$1"), :"$2", :_}),
        not Process.alive?(acceptor),
        _row <- :ets.take(Table, key(socket)) do
      :gen_tcp.close(socket)
    end
  end

  defp key(socket), do: {__MODULE__, socket}
end
