defmodule Penstock.Dashboard.Connection do
  # The process of one connection. Serves its requests one after the other, and ends: after some
  # requests, at some age, when the client is slow, or when it sends bytes that are no request.
  #
  # A client can only end its own connection. So nothing that it sends is logged.
  @moduledoc false

  alias Penstock.Dashboard.{Access, Request, Response, Router, Settings}
  alias Penstock.Edge.Notice

  # The most bytes that are read and dropped after the last response.
  @most_dropped 262_144

  # Waits for the socket, which the acceptor gives to this process.
  @spec serve(Router.context()) :: :ok
  def serve(context) do
    # `:max_runtime` counts from a moment before.
    keep_until = now() + context.settings.bounds.keep_ms

    receive do
      {:serve, socket} -> turn(socket, context, context.settings.bounds.turns, keep_until)
    after
      context.settings.bounds.head_ms -> :ok
    end
  end

  defp turn(socket, %{settings: %{bounds: bounds}} = context, turns, keep_until) do
    case Request.read(socket, bounds) do
      {:ok, request} ->
        response = answer(request, context)
        # The answer may have taken long.
        keep? = request.keep? and turns > 1 and now() < keep_until
        sent = :gen_tcp.send(socket, Response.encode(response, keep?, request.method == "HEAD"))
        if sent == :ok and keep?, do: turn(socket, context, turns - 1, keep_until), else: finish(socket, bounds)

      {:error, status, text} ->
        _ = :gen_tcp.send(socket, Response.encode(Response.error(status, text), false, false))
        finish(socket, bounds)

      :over ->
        finish(socket, bounds)
    end
  end

  # A fault of the dashboard itself ends neither the connection nor the log.
  defp answer(request, %{settings: settings} = context) do
    port = Settings.opened_port(settings)

    case Access.check(request, settings.access, port) do
      :ok -> Router.answer(request, context)
      {:login, token} -> Router.login(request, token, port)
      :token_missing -> Router.token_missing(request)
      {:refused, text} -> Response.error(403, text)
    end
  catch
    kind, reason ->
      stack = __STACKTRACE__
      Notice.once_a_minute(__MODULE__, fn -> "Penstock.Dashboard: " <> Exception.format(kind, reason, stack) end)
      Response.error(500, "the dashboard could not answer; its log names the cause")
  end

  # Closes the connection so that the client can still read the last response: a socket that is
  # closed with unread data answers with a reset. What remains after the time is dropped, for a
  # close waits for the client by up to 3 minutes otherwise.
  defp finish(socket, bounds) do
    _ = :inet.setopts(socket, packet: :raw)
    _ = :gen_tcp.shutdown(socket, :write)
    drop(socket, now() + bounds.linger_ms, @most_dropped)
    _ = :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  defp drop(socket, until, left) do
    case :gen_tcp.recv(socket, 0, max(until - now(), 0)) do
      {:ok, data} when byte_size(data) < left -> drop(socket, until, left - byte_size(data))
      _closed_or_enough -> :ok
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
