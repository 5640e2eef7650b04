defmodule Penstock.Listener.Accept do
  # Accepts connections, asks the gate about each, and closes those that are refused. Runs in the
  # acceptor of the server.
  #
  # The server sees only admitted connections. It would start a process for a refused one, and a
  # server that gets `{:error, reason}` from `accept` logs it, or ends the acceptor.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Edge.{Ask, Notice, Query}
  alias Penstock.Listener.{Config, Lingering}
  alias Penstock.Options

  # The largest size of the text of an error in a log line, in characters.
  @longest_error 500

  # Returns the next admitted connection and its permits, which the caller holds, or offers if
  # `way` is `:spawn`. Returns errors of the listening socket unchanged.
  @spec accept(Config.t(), term, timeout, :run | :spawn) :: {:ok, term, Admission.permits()} | {:error, term}
  def accept(config, listener, timeout, way), do: accept_until(config, listener, until(timeout), way)

  # If the acceptor is killed before it has closed a refused connection, its death closes it.
  defp accept_until(config, listener, until, way) do
    # `:infinity` is larger than any number.
    timeout = min(left_ms(until), Lingering.end_due())

    case :gen_tcp.accept(listener, timeout) do
      {:ok, socket} -> decide(config, listener, socket, until, way)
      {:error, :timeout} -> unless_over(config, listener, until, way)
      {:error, reason} -> failed(reason)
    end
  end

  defp decide(config, listener, socket, until, way) do
    case admit(config, socket, way) do
      {:ok, permits} ->
        {:ok, socket, permits}

      refused_or_gone ->
        finish(refused_or_gone, config, socket)
        unless_over(config, listener, until, way)
    end
  end

  # A flood of refused connections must not postpone the deadline.
  defp unless_over(config, listener, until, way) do
    if left_ms(until) == 0, do: {:error, :timeout}, else: accept_until(config, listener, until, way)
  end

  # The reasons for which the VM or the system has no room for one more socket.
  @no_room [:emfile, :enfile, :enomem, :enobufs, :system_limit]

  # The sockets that linger must not be those that other clients lack.
  defp failed(reason) do
    if reason in @no_room, do: Lingering.end_all()
    {:error, reason}
  end

  # The end of a timeout, in ms of the monotonic time.
  defp until(:infinity), do: :infinity
  defp until(ms), do: System.monotonic_time(:millisecond) + ms

  defp left_ms(:infinity), do: :infinity
  defp left_ms(until), do: max(until - System.monotonic_time(:millisecond), 0)

  # A client can make the key function fail, and a wrong program fails for each connection. An
  # error in the acceptor would end the acceptor, and in the end the server. So it refuses.
  #
  # Nothing is taken if this fails: the native side takes permits in the last call of `Ask.admit`.
  defp admit(%{query: query}, socket, way) do
    case :inet.peername(socket) do
      {:ok, peer} ->
        with {:error, _reason} <- Ask.admit(way, query.gate, Query.request(query, address(peer))), do: :refused

      # The client has gone already.
      {:error, _reason} ->
        :gone
    end
  catch
    kind, reason ->
      Notice.once_a_minute({:listener, query.gate}, fn ->
        error = String.slice(Exception.format_banner(kind, reason, __STACKTRACE__), 0, @longest_error)

        "connections to the gate #{Options.show(query.gate)} are refused, because asking it failed: #{error}. " <>
          "This is logged at most once a minute"
      end)

      :refused
  end

  # The peer of a unix socket has no port, and commonly no path either.
  defp address({ip, port}) when is_tuple(ip) and is_integer(port), do: ip
  defp address({:local, _path} = local), do: local
  defp address(_unknown), do: :undefined

  # A client that has gone is not slowed down.
  defp finish(:refused, %{refuse_after: ms, on_reject: how}, socket) when ms > 0,
    do: Lingering.keep_open(socket, ms, &close(how, &1)) || close(how, socket)

  defp finish(_refused_or_gone, %{on_reject: how}, socket), do: close(how, socket)

  # With a linger time of 0, the system resets the connection: no end of the stream is sent, and no
  # state of the connection stays on this side.
  defp close(:reset, socket) do
    _ = :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  defp close(:close, socket), do: :gen_tcp.close(socket)
end
