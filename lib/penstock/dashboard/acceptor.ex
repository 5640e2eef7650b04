defmodule Penstock.Dashboard.Acceptor do
  # The acceptor listens, and starts a process behind the pool of connections for each client. It
  # starts no process for a client that the pool refuses, so a flood costs one short answer each.
  #
  # When the acceptor is killed, the VM closes its socket. The next acceptor listens at the same
  # port, even one that the system chose, since clients know no other.
  @moduledoc false

  alias Penstock.Dashboard.{Connection, Peers, Response, Router, Settings}
  alias Penstock.Edge.Notice

  @backlog 128
  # The bytes that the system keeps for a client that does not read.
  @send_buffer 131_072
  # When the system has no room for a further socket, the acceptor waits before it tries again.
  @pause_ms 100
  # The port of a killed acceptor closes after its end is known, so a first attempt can come too
  # early.
  @attempts 20
  @attempt_ms 10

  @spec child_spec(Router.context()) :: Supervisor.child_spec()
  def child_spec(context), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [context]}}

  @spec start_link(Router.context()) :: {:ok, pid} | {:error, {:inet.posix(), String.t()}}
  def start_link(context), do: :proc_lib.start_link(__MODULE__, :init, [context])

  @doc false
  @spec init(Router.context()) :: :ok | no_return
  def init(%{settings: settings} = context) do
    case {listen(settings, @attempts), Settings.opened_port(settings)} do
      {{:ok, listener}, _port} ->
        :ok = Settings.put_opened_port(settings, port_of(listener))
        :proc_lib.init_ack({:ok, self()})
        accept(listener, context, Peers.new(settings.bounds.per_peer))

      {{:error, reason}, 0} ->
        :proc_lib.init_ack({:error, {reason, message(settings, reason)}})

      # The dashboard has run before. An error would end it, and then perhaps its supervisor.
      {{:error, _reason}, _port} ->
        :proc_lib.init_ack({:ok, self()})
        listener = listen_again(settings)
        accept(listener, context, Peers.new(settings.bounds.per_peer))
    end
  end

  defp listen_again(settings) do
    case listen(settings, @attempts) do
      {:ok, listener} ->
        listener

      {:error, reason} ->
        Notice.once_a_minute({__MODULE__, settings.port}, fn -> message(settings, reason) end)
        pause(settings.bounds.retry_ms)
        listen_again(settings)
    end
  end

  defp listen(%{ip: ip, bounds: bounds} = settings, attempts) do
    port = with 0 <- Settings.opened_port(settings), do: settings.port
    family = if tuple_size(ip) == 8, do: [:inet6], else: []

    opts =
      family ++
        [
          :binary,
          ip: ip,
          active: false,
          backlog: @backlog,
          reuseaddr: true,
          nodelay: true,
          packet: :http_bin,
          packet_size: bounds.line_bytes,
          sndbuf: @send_buffer,
          send_timeout: bounds.send_ms,
          send_timeout_close: true
        ]

    case :gen_tcp.listen(port, opts) do
      {:error, :eaddrinuse} when attempts > 1 ->
        pause(@attempt_ms)
        listen(settings, attempts - 1)

      answer ->
        answer
    end
  end

  defp port_of(listener) do
    {:ok, port} = :inet.port(listener)
    port
  end

  defp message(%{port: port, ip: ip}, :eaddrinuse),
    do: "port #{port} of #{:inet.ntoa(ip)} is in use by another program: give Penstock.Dashboard another :port"

  defp message(%{port: port, ip: ip}, reason),
    do: "Penstock.Dashboard cannot listen at port #{port} of #{:inet.ntoa(ip)}: #{:inet.format_error(reason)}"

  defp accept(listener, context, peers) do
    case :gen_tcp.accept(listener) do
      {:ok, socket} -> accept(listener, context, take(socket, context, Peers.forget_dead(peers)))
      # The next acceptor listens again.
      {:error, :closed} -> exit(:shutdown)
      {:error, _no_room_or_gone} -> pause_and_accept(listener, context, peers)
    end
  end

  defp pause_and_accept(listener, context, peers) do
    pause(@pause_ms)
    accept(listener, context, peers)
  end

  defp take(socket, context, peers) do
    peer = peer(socket)

    with true <- Peers.room?(peers, peer), {:ok, pid} <- start(context) do
      hand_over(socket, pid)
      Peers.add(peers, pid, peer)
    else
      _refused ->
        refuse(socket)
        peers
    end
  end

  # Loopback has no bound of its own: all clients of this machine have the same address.
  defp peer(socket) do
    case :inet.peername(socket) do
      {:ok, {ip, _port}} -> if not Settings.loopback?(ip), do: Penstock.IP.key(ip)
      _gone_already -> nil
    end
  end

  # The process of the connection holds a permit until it is dead. `:max_runtime` ends it at the
  # latest.
  defp start(%{settings: %{bounds: bounds}} = context) do
    case :ets.lookup(context.table, :connections) do
      [{:connections, supervisor}] ->
        start = {Task.Supervisor, :start_child, [supervisor, Connection, :serve, [context]]}
        Penstock.start_process(context.connections, start, max_runtime: bounds.connection_ms)

      [] ->
        :none
    end
  catch
    # The supervisor has just been killed, or the VM has no room for a process.
    _kind, _reason -> :none
  end

  defp hand_over(socket, pid) do
    case :gen_tcp.controlling_process(socket, pid) do
      :ok -> send(pid, {:serve, socket})
      {:error, _closed_or_dead} -> :gen_tcp.close(socket)
    end
  end

  # The answer is short, so it fits into the socket's buffer, and neither call waits.
  defp refuse(socket) do
    _ = :gen_tcp.send(socket, Response.encode(Response.busy(), false, false))
    :gen_tcp.close(socket)
  end

  defp pause(ms), do: receive(after: (ms -> :ok))
end
