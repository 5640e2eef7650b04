defmodule Penstock.Integration.CowboyListenerTest do
  # Penstock.Listener on a real ranch and Cowboy.
  use Penstock.PoolCase, async: false

  import ExUnit.CaptureLog
  import Penstock.Connections

  alias Penstock.{HTTP2Client, HTTPClient, IP, KeyedPool}
  alias Penstock.Edge.Table
  alias Penstock.Listener.TwoSteps

  @moduletag :cowboy
  @compile {:no_warn_undefined, [:cowboy, :cowboy_req, :cowboy_router, :ranch, :ranch_server, :public_key, :ssl]}

  @patience 30_000

  defmodule Hello do
    @compile {:no_warn_undefined, [:cowboy_req]}
    def init(req, state), do: {:ok, :cowboy_req.reply(200, %{}, "hello", req), state}
  end

  # A connection stays open until its client closes it.
  defp protocol do
    dispatch = :cowboy_router.compile([{:_, [{:_, Hello, []}]}])
    %{env: %{dispatch: dispatch}, request_timeout: :infinity, idle_timeout: :infinity}
  end

  # Starts a guarded server. Returns the name of its listener and its port.
  defp start!(opts, transport \\ :ranch_tcp, protocol \\ :cowboy_clear, more \\ []) do
    {:ok, _apps} = Application.ensure_all_started(:cowboy)
    module = unique_name()
    Module.create(module, quote(do: use(Penstock.Listener, unquote(opts))), Macro.Env.location(__ENV__))
    socket_opts = [port: 0, ip: {0, 0, 0, 0}, backlog: 4_096] ++ more
    transport_opts = %{socket_opts: socket_opts, num_acceptors: 4, max_connections: 20_000}
    spec = :ranch.child_spec(module, transport, transport_opts, protocol, protocol())
    start_supervised!(module.cowboy(spec), id: module)
    {module, :ranch.get_port(module)}
  end

  defp connections(name), do: length(:ranch.procs(name, :connections))
  defp supervisors(name), do: for({_id, pid} <- :ranch_server.get_connections_sups(name), do: pid)

  defp start_tls!(opts), do: start!(opts, :ranch_ssl, :cowboy_tls, tls_opts())

  defp tls_opts do
    key = [key: {:namedCurve, :secp256r1}, digest: :sha256]
    chain = %{root: key, intermediates: [], peer: key}
    %{server_config: server} = :public_key.pkix_test_data(%{server_chain: chain, client_chain: chain})
    [alpn_preferred_protocols: ["h2", "http/1.1"]] ++ server
  end

  defp handshake(port, opts \\ []) do
    {:ok, tcp} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false], @patience)
    :ssl.connect(tcp, [verify: :verify_none, log_level: :none] ++ opts, @patience)
  end

  test "has as many connections as permits, and closes the others without a process or a log line" do
    pool = start_pool(limit: 50)
    {name, port} = start!(gate: pool)

    log =
      capture_log(fn ->
        clients = for _ <- 1..200, do: connect!(port)
        assert eventually(fn -> Pool.info(pool).rejected == 150 end)
        assert eventually(fn -> Enum.count(clients, &ended?/1) == 150 end)
        assert eventually(fn -> connections(name) == 50 end)
        assert %{in_use: 50, peak: 50, holders: 50} = Pool.info(pool)
        holders = for %{pid: pid} <- Pool.holders(pool), do: pid
        assert Enum.sort(holders) == Enum.sort(:ranch.procs(name, :connections))

        open = Enum.reject(clients, &ended?/1)
        for client <- open, do: assert({:ok, {200, _headers, "hello"}} = HTTPClient.request(client, "/"))
        for client <- clients, do: :gen_tcp.close(client)
        assert eventually(fn -> counts(pool) == {0, 0, 0} end)
      end)

    assert log == ""
    assert {:ok, {200, _headers, "hello"}} = HTTPClient.request(connect!(port), "/")
  end

  test "serves HTTP/2" do
    pool = start_pool(limit: 1)
    {_name, port} = start!(gate: pool)
    client = connect!(port)
    assert HTTP2Client.get(:gen_tcp, client) == :ok
    assert ended(connect!(port)) == :closed
    :gen_tcp.close(client)
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)
  end

  test "goes by the prefix of the address" do
    keyed = start_gate(KeyedPool, limit: 5)
    {_name, port} = start!(gate: keyed)
    clients = for last <- 1..2, _ <- 1..20, do: connect!(port, {127, 0, 0, last})
    assert eventually(fn -> Enum.count(clients, &ended?/1) == 30 end)
    for last <- 1..2, do: assert(KeyedPool.info(keyed, IP.key({127, 0, 0, last})).in_use == 5)
    for client <- clients, do: :gen_tcp.close(client)
    assert eventually(fn -> KeyedPool.info(keyed).in_use == 0 end)
  end

  test "frees the permits of connections that are killed" do
    pool = start_pool(limit: 50)
    {name, port} = start!(gate: pool)
    for _ <- 1..50, do: connect!(port)
    assert eventually(fn -> connections(name) == 50 end)
    {killed, _rest} = Enum.split(Enum.shuffle(:ranch.procs(name, :connections)), 20)
    for pid <- killed, do: Process.exit(pid, :kill)
    assert eventually(fn -> counts(pool) == {30, 30, 0} end)

    # Those that the acceptors have given away stay.
    for pid <- Enum.take(:ranch.procs(name, :acceptors), 1), do: kill(pid)
    assert eventually(fn -> counts(pool) == {30, 30, 0} end)

    for pid <- supervisors(name), do: Process.exit(pid, :kill)
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)
  end

  test "all permits are back after processes of ranch were killed at random" do
    pool = start_pool(limit: 30)
    {name, _port} = start!(gate: pool)
    clients = for _ <- 1..4, do: Task.async(fn -> for n <- 1..300, do: visit(name, n) end)
    killing = Task.async(fn -> kill_some(name) end)
    Task.await_many(clients, 120_000)
    send(killing.pid, :stop)
    Task.await(killing, @patience)
    assert Pool.info(pool).peak <= 30
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)

    # The server still serves, as soon as ranch has restarted all. A stop of it leaves nothing.
    client = eventually(fn -> served(name, pool) end)
    :ok = stop_supervised(name)
    assert ended(client) in [:closed, :reset]
    assert all_back(pool, 30) == {0, 0, 0}
    # A row is left only by an acceptor that died since another one started.
    assert length(:ets.match(Table, {{TwoSteps, :_}, :_, :_})) <= 4
  end

  defp open(name) do
    with port when is_integer(port) <- :ranch.get_port(name) do
      :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false], @patience)
    end
  catch
    # The listener is being started again.
    _kind, _reason -> :error
  end

  # Returns a client that is served and holds the only permit; nil if a restart of ranch interferes.
  defp served(name, pool) do
    with {:ok, client} <- open(name) do
      if match?({:ok, _response}, HTTPClient.request(client, "/")) and counts(pool) == {1, 1, 0} do
        client
      else
        :gen_tcp.close(client)
        nil
      end
    else
      _not_running -> nil
    end
  end

  defp visit(name, n) do
    with {:ok, client} <- open(name) do
      if rem(n, 2) == 0, do: HTTPClient.request(client, "/")
      :gen_tcp.close(client)
    end
  end

  defp kill_some(name) do
    receive do
      :stop -> :ok
    after
      5 ->
        for {kind, share} <- [connections: 0.3, acceptors: 0.1], pid <- procs(name, kind), :rand.uniform() < share do
          Process.exit(pid, :kill)
        end

        if :rand.uniform() < 0.05, do: for(pid <- procs(name, :supervisors), do: Process.exit(pid, :kill))
        kill_some(name)
    end
  end

  defp procs(name, kind) do
    if kind == :supervisors, do: supervisors(name), else: :ranch.procs(name, kind)
  catch
    # The listener is being started again.
    _kind, _reason -> []
  end

  test "decides before TLS: admits 50 of 80 handshakes" do
    pool = start_pool(limit: 50)
    {name, port} = start_tls!(gate: pool)
    handshakes = for _ <- 1..80, do: Task.async(fn -> hold(handshake(port)) end)
    assert eventually(fn -> Pool.info(pool).rejected == 30 end)
    for %{pid: pid} <- handshakes, do: send(pid, :close)
    answers = Task.await_many(handshakes, @patience)
    assert Enum.frequencies(answers) == %{ok: 50, error: 30}
    assert Pool.info(pool).peak == 50
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)
    assert eventually(fn -> connections(name) == 0 end)
  end

  # Keeps a connection until the test has seen the decisions about all clients.
  defp hold({:error, _reason}), do: :error

  defp hold({:ok, socket}) do
    receive do
      :close -> :ssl.close(socket)
    end
  end

  test "serves HTTP/1.1 and HTTP/2 over TLS, and frees the permit of a killed connection" do
    pool = start_pool(limit: 1)
    {name, port} = start_tls!(gate: pool)
    {:ok, socket} = handshake(port)
    :ok = :ssl.send(socket, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert {:ok, "HTTP/1.1 200 OK" <> _rest} = :ssl.recv(socket, 0, @patience)
    assert counts(pool) == {1, 1, 0}
    for pid <- :ranch.procs(name, :connections), do: Process.exit(pid, :kill)
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)

    {:ok, socket} = handshake(port, alpn_advertised_protocols: ["h2"])
    assert :ssl.negotiated_protocol(socket) == {:ok, "h2"}
    assert HTTP2Client.get(:ssl, socket) == :ok
    :ssl.close(socket)
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)
  end
end
