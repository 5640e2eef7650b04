defmodule Penstock.ListenerTest do
  use Penstock.PoolCase, async: true

  alias Penstock.{Gate, IP, KeyedPool, Listener, RateLimiter}
  import Penstock.Connections

  @cb_info_tags [:tcp, :tcp_closed, :tcp_error, :tcp_passive]

  # Returns a new module with `use Penstock.Listener`.
  defp listener(opts) do
    name = unique_name()

    {:module, ^name, _binary, _result} =
      Module.create(name, quote(do: use(Penstock.Listener, unquote(opts))), Macro.Env.location(__ENV__))

    name
  end

  defp tls(opts), do: Module.concat(listener(opts), TLS)

  # Returns a listening socket of the test, and its port.
  defp listen(transport) do
    {:ok, socket} = transport.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 1_024])
    {:ok, port} = transport.port(socket)
    {socket, port}
  end

  # Makes an actor accept. Returns the reference for `answer/1`.
  defp accept(actor, transport, socket), do: ask(actor, fn -> transport.accept(socket, 10_000) end)

  defp idle, do: spawn_link(fn -> Process.sleep(:infinity) end)

  describe "bandit/1" do
    test "sets the transport of thousand_island for HTTP" do
      module = listener(gate: :gate)

      assert module.bandit(plug: :p, port: 1) == [
               plug: :p,
               port: 1,
               thousand_island_options: [transport_module: Module.concat(module, ThousandIsland)]
             ]

      opts = [:inet6, plug: :p, scheme: :http, thousand_island_options: [num_acceptors: 3]]
      assert [:inet6, plug: :p, scheme: :http, thousand_island_options: island] = module.bandit(opts)
      assert Enum.sort(island) == [num_acceptors: 3, transport_module: Module.concat(module, ThousandIsland)]
    end

    test "sets the option cb_info for HTTPS, after the others" do
      module = listener(gate: :gate)
      opts = [scheme: :https, thousand_island_options: [transport_options: [{:inet_backend, :socket}, nodelay: true]]]
      assert [scheme: :https, thousand_island_options: [transport_options: transport]] = module.bandit(opts)
      tls = Module.concat(module, TLS)
      assert transport == [inet_backend: :socket, nodelay: true, cb_info: List.to_tuple([tls | @cb_info_tags])]
      assert {:cb_info, _} = module.cb_info()
    end

    test "raises on options that it would undo, and on bad ones" do
      module = listener(gate: :gate)

      assert_raise ArgumentError, ~r/expected :thousand_island_options to be without :transport_module/, fn ->
        module.bandit(thousand_island_options: [transport_module: Other])
      end

      assert_raise ArgumentError, ~r/expected :transport_options to be without :cb_info/, fn ->
        module.bandit(scheme: :https, thousand_island_options: [transport_options: [cb_info: {Other, :a, :b, :c}]])
      end

      for opts <- [:no_list, [scheme: :htp], [thousand_island_options: :no], [certfile: "a"], [scheme: :http, key: "b"]] do
        assert_raise ArgumentError, ~r/^expected /, fn -> module.bandit(opts) end
      end
    end
  end

  describe "cowboy/1 and ranch/1" do
    @spec_of_ranch %{id: {:ranch_embedded_sup, :http}, type: :supervisor}

    defp spec(transport, opts),
      do:
        Map.put(
          @spec_of_ranch,
          :start,
          {:ranch_embedded_sup, :start_link, [:http, transport, opts, :cowboy_clear, %{}]}
        )

    test "set the transport for HTTP, in maps and in tuples" do
      module = listener(gate: :gate)
      guarded = spec(Module.concat(module, Ranch), %{socket_opts: []})
      assert module.cowboy(spec(:ranch_tcp, %{socket_opts: []})) == guarded
      assert module.ranch(spec(:ranch_tcp, %{socket_opts: []})) == guarded

      args = [:ranch_tcp, 10, :ranch_tcp, [port: 0], :p, []]

      old =
        {{:ranch_listener_sup, :ranch_tcp}, {:ranch_listener_sup, :start_link, args}, :permanent, 5, :supervisor, []}

      assert {_id, {_module, :start_link, args}, :permanent, 5, :supervisor, []} = module.ranch(old)
      assert args == [:ranch_tcp, 10, Module.concat(module, Ranch), [port: 0], :p, []]
    end

    test "add the option cb_info for HTTPS" do
      module = listener(gate: :gate)

      assert module.ranch(spec(:ranch_ssl, %{socket_opts: [port: 1], num_acceptors: 3})) ==
               spec(:ranch_ssl, %{socket_opts: [{:port, 1}, module.cb_info()], num_acceptors: 3})

      assert module.ranch(spec(:ranch_ssl, %{})) == spec(:ranch_ssl, %{socket_opts: [module.cb_info()]})
      assert module.ranch(spec(:ranch_ssl, port: 1)) == spec(:ranch_ssl, [{:port, 1}, module.cb_info()])
    end

    test "raise on anything else" do
      module = listener(gate: :gate)

      for bad <- [:no, %{id: 1}, spec(Other, %{}), %{id: 1, start: {Other, :start_link, [:ranch_tcp]}}] do
        assert_raise ArgumentError, ~r/^expected spec to be the child spec of a ranch listener/, fn ->
          module.ranch(bad)
        end
      end

      for {opts, message} <- [
            {[cb_info: {:gen_tcp, :a, :b, :c}], ~r/without :cb_info/},
            {[protocol: :dtls], ~r/DTLS/},
            {:no_list, ~r/expected :socket_opts/}
          ] do
        assert_raise ArgumentError, message, fn -> module.ranch(spec(:ranch_ssl, %{socket_opts: opts})) end
      end
    end
  end

  test "raises on bad options of the listener, before a server starts" do
    for {opts, message} <- [
          {[], ~r/the option :gate is missing, such as use Penstock.Listener/},
          {[gate: nil], ~r/expected gate to be/},
          {[gate: "no"], ~r/expected gate to be/},
          {[gate: :g, key: :no],
           ~r/expected :key to be a function of an address, {module, function, args}, or :none, got: :no/},
          {[gate: :g, on_reject: :no], ~r/expected :on_reject to be/},
          {[gate: :g, kye: :none], ~r/unknown option :kye\. Known: :gate, :key, :on_reject, :refuse_after/}
        ] do
      module = listener(opts)
      assert_raise ArgumentError, message, fn -> module.bandit([]) end
      assert_raise ArgumentError, message, fn -> Module.concat(module, TLS).listen(0, []) end
    end
  end

  describe "accept" do
    test "admits up to the limit, and closes what is refused" do
      pool = start_pool(limit: 1)
      transport = tls(gate: pool)
      {socket, port} = listen(transport)
      acceptor = actor()
      accepting = accept(acceptor, transport, socket)

      first = connect!(port)
      {:ok, connection} = answer(accepting)
      assert counts(pool) == {1, 1, 0}
      pid = idle()
      assert tell(acceptor, fn -> transport.controlling_process(connection, pid) end) == :ok
      assert [%{pid: ^pid}] = Pool.holders(pool)

      accepting = accept(acceptor, transport, socket)
      assert ended(connect!(port)) == :closed
      refute ended?(first)
      assert Pool.info(pool).rejected == 1

      # The acceptor has gone on, and accepts when a permit is free.
      Process.unlink(pid)
      kill(pid)
      assert ended(first) == :closed
      assert eventually(fn -> Pool.info(pool).in_use == 0 end)
      connect!(port)
      assert {:ok, _connection} = answer(accepting)
    end

    test "resets what is refused, by on_reject: :reset" do
      transport = tls(gate: start_pool(limit: 0), on_reject: :reset)
      {socket, port} = listen(transport)
      client = connect!(port)
      accept(actor(), transport, socket)
      assert ended(client) == :reset
    end

    test "keeps its deadline while it refuses" do
      pool = start_pool(limit: 0)
      transport = tls(gate: pool)
      {socket, port} = listen(transport)
      for _ <- 1..10, do: connect!(port)
      # Each call has no time left after one connection.
      for refused <- 1..5 do
        assert transport.accept(socket, 0) == {:error, :timeout}
        assert Pool.info(pool).rejected == refused
      end
    end

    test "does not hold back a client that has gone" do
      pool = start_pool(limit: 0)
      transport = tls(gate: pool, refuse_after: 60_000)
      {socket, port} = listen(transport)
      client = connect!(port)
      :ok = :inet.setopts(client, linger: {true, 0})
      :gen_tcp.close(client)
      assert {:error, _timeout} = transport.accept(socket, 100)
      assert Process.get(Penstock.Listener.Lingering) == nil
    end

    test "returns the errors of the listening socket" do
      transport = tls(gate: start_pool(limit: 1))
      {socket, _port} = listen(transport)
      assert transport.accept(socket, 0) == {:error, :timeout}
      accepting = accept(actor(), transport, socket)
      :gen_tcp.close(socket)
      assert {:error, _closed} = answer(accepting)
    end

    test "passes over clients that have gone" do
      pool = start_pool(limit: 1)
      transport = tls(gate: pool)
      {socket, port} = listen(transport)
      gone = connect!(port)
      :ok = :inet.setopts(gone, linger: {true, 0})
      :ok = :gen_tcp.close(gone)
      stays = connect!(port)
      {:ok, client} = :inet.sockname(stays)
      {:ok, connection} = transport.accept(socket, 10_000)
      assert transport.peername(connection) == {:ok, client}
      assert counts(pool) == {1, 1, 0}
    end

    test "goes by the prefix of the address" do
      keyed = start_gate(KeyedPool, limit: 1)
      transport = tls(gate: keyed)
      {:ok, socket} = transport.listen(0, ip: {0, 0, 0, 0})
      {:ok, port} = transport.port(socket)
      acceptor = actor()

      accepting = accept(acceptor, transport, socket)
      connect!(port)
      {:ok, connection} = answer(accepting)
      tell(acceptor, fn -> transport.controlling_process(connection, idle()) end)

      accepting = accept(acceptor, transport, socket)
      assert ended(connect!(port)) == :closed
      connect!(port, {127, 0, 0, 2})
      assert {:ok, _connection} = answer(accepting)
      for last <- 1..2, do: assert(KeyedPool.info(keyed, IP.key({127, 0, 0, last})).in_use == 1)
    end

    test "accepts from a unix socket" do
      keyed = start_gate(KeyedPool, limit: 1)
      transport = tls(gate: keyed)
      path = Path.join(System.tmp_dir!(), "penstock-#{System.unique_integer([:positive])}.sock")
      on_exit(fn -> File.rm(path) end)
      {:ok, socket} = transport.listen(0, ip: {:local, path}, active: false)
      {:ok, client} = :gen_tcp.connect({:local, path}, 0, active: false)
      assert {:ok, _connection} = transport.accept(socket, 10_000)
      assert [%{permits: 1}] = KeyedPool.top(keyed)
      :gen_tcp.close(client)
    end

    test "counts nothing for a limiter, and passes its refusals" do
      limiter = start_gate(RateLimiter, limit: 2, per: 60_000)
      transport = tls(gate: limiter)
      {socket, port} = listen(transport)
      acceptor = actor()

      for _ <- 1..2 do
        accepting = accept(acceptor, transport, socket)
        connect!(port)
        {:ok, connection} = answer(accepting)
        assert tell(acceptor, fn -> transport.controlling_process(connection, idle()) end) == :ok
      end

      accept(acceptor, transport, socket)
      assert ended(connect!(port)) == :closed
    end
  end

  describe "permits" do
    setup do
      pool = start_pool(limit: 10)
      transport = tls(gate: pool)
      {socket, port} = listen(transport)
      acceptor = actor()
      accepting = accept(acceptor, transport, socket)
      client = connect!(port)
      {:ok, connection} = answer(accepting)
      assert counts(pool) == {1, 1, 0}

      {:ok,
       pool: pool,
       transport: transport,
       socket: socket,
       port: port,
       acceptor: acceptor,
       client: client,
       connection: connection}
    end

    test "come back if the acceptor dies before it gives the socket away", context do
      kill(context.acceptor)
      assert ended(context.client) == :closed
      assert all_back(context.pool, 10) == {0, 0, 0}
    end

    test "come back if the acceptor closes the socket", %{transport: transport, connection: connection} = context do
      assert tell(context.acceptor, fn -> transport.close(connection) end) == :ok
      assert counts(context.pool) == {0, 0, 0}
    end

    test "come back if the process of the connection is dead already", %{connection: connection} = context do
      dead = spawn(fn -> :ok end)
      kill(dead)

      assert {:error, _reason} =
               tell(context.acceptor, fn -> context.transport.controlling_process(connection, dead) end)

      assert counts(context.pool) == {0, 0, 0}
      # The acceptor lives on, and does not keep the socket.
      assert ended(context.client) == :closed
    end

    test "stay with the process of the connection if the acceptor dies", %{connection: connection} = context do
      pid = idle()
      :ok = tell(context.acceptor, fn -> context.transport.controlling_process(connection, pid) end)
      kill(context.acceptor)
      assert [%{pid: ^pid, permits: 1}] = Pool.holders(context.pool)
      refute ended?(context.client)
      Process.unlink(pid)
      kill(pid)
      assert all_back(context.pool, 10) == {0, 0, 0}
    end

    test "of a socket that the server forgot come back with the next accept", context do
      accepting = accept(context.acceptor, context.transport, context.socket)
      assert ended(context.client) == :closed
      connect!(context.port)
      assert {:ok, _connection} = answer(accepting)
      assert counts(context.pool) == {1, 1, 0}
    end

    test "stay with an acceptor that serves the connection itself", %{transport: transport} = context do
      %{connection: connection, acceptor: acceptor} = context
      assert tell(acceptor, fn -> transport.controlling_process(connection, acceptor) end) == :ok
      assert [%{pid: ^acceptor}] = Pool.holders(context.pool)
      assert tell(acceptor, fn -> transport.close(connection) end) == :ok
      assert counts(context.pool) == {0, 0, 0}
    end
  end

  test "all permits are back after 1,000 connections whose processes and acceptors are killed at random" do
    keyed = start_gate(KeyedPool, limit: 5)
    pool = start_pool(limit: 20)
    gate = start_gate(Gate, limits: [keyed, pool])
    transport = tls(gate: gate)
    {:ok, socket} = transport.listen(0, ip: {0, 0, 0, 0}, active: false, backlog: 1_024)
    {:ok, port} = transport.port(socket)
    test = self()

    # A process whose acceptor was killed between `controlling_process` and its message ends too.
    serve = fn acceptor ->
      ref = Process.monitor(acceptor)

      receive do
        {:serve, _connection} -> :timer.sleep(:rand.uniform(3))
        {:DOWN, ^ref, :process, ^acceptor, _reason} -> :ok
      end
    end

    loop = fn loop ->
      {:ok, connection} = transport.accept(socket, :infinity)
      acceptor = self()
      pid = spawn(fn -> serve.(acceptor) end)
      send(test, {:kill, pid})
      _ = transport.controlling_process(connection, pid)
      send(pid, {:serve, connection})
      loop.(loop)
    end

    acceptors = fn -> for _ <- 1..4, do: spawn(fn -> loop.(loop) end) end

    Enum.reduce(1..1_000, acceptors.(), fn n, running ->
      client = connect!(port, {127, 0, 0, rem(n, 8) + 1})
      if rem(n, 3) == 0, do: :gen_tcp.close(client)

      receive do
        {:kill, pid} -> if rem(n, 2) == 0, do: Process.exit(pid, :kill)
      after
        0 -> :ok
      end

      assert Pool.info(pool).in_use <= 20

      if rem(n, 10) == 0 do
        Process.exit(Enum.random(running), :kill)
        Enum.filter(running, &Process.alive?/1) ++ [spawn(fn -> loop.(loop) end)]
      else
        running
      end
    end)
    |> Enum.each(&kill/1)

    assert all_back(pool, 20) == {0, 0, 0}
    assert eventually(fn -> KeyedPool.info(keyed).in_use == 0 end)
    assert KeyedPool.info(keyed).keys == 0
  end

  test "gives `ssl` the functions that it calls in place of those of gen_tcp" do
    module = tls(gate: :gate)

    for function <- [
          {:listen, 2},
          {:accept, 2},
          {:connect, 4},
          {:controlling_process, 2},
          {:send, 2},
          {:recv, 2},
          {:recv, 3},
          {:shutdown, 2},
          {:close, 1},
          {:setopts, 2},
          {:getopts, 2},
          {:getstat, 2},
          {:peername, 1},
          {:sockname, 1},
          {:port, 1}
        ] do
      assert function in module.__info__(:functions)
    end
  end

  test "keeps the options until the module is compiled again" do
    module = listener(gate: :gate, key: :none)
    assert %{query: %{gate: :gate, key: :none}, on_reject: :close} = Listener.config(module)
    assert Listener.config(module) == Listener.config(module)
  end
end
