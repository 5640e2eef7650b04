defmodule Penstock.SocketTest do
  # The callbacks of a guarded socket, called as the transports of Phoenix call them. The real
  # transports are in test/integration/plug.
  use Penstock.PoolCase, async: true

  import ExUnit.CaptureLog

  alias Penstock.{Ban, Gate, IP, KeyedPool, RateLimiter}

  # A socket whose callbacks tell the test process of each call, and do what the info, the state or
  # the message says. A fun in place of a result is called.
  defmodule Plain do
    def child_spec(opts), do: %{id: __MODULE__, start: {Agent, :start_link, [fn -> opts end]}}
    def drainer_spec(opts), do: %{id: {:drainer, __MODULE__}, start: {Agent, :start_link, [fn -> opts end]}}
    def connect(info), do: called({:connect, info}, Map.get(info, :connect, {:ok, Map.get(info, :state, :connected)}))
    def init({:init, result} = state), do: called({:init, state}, result)
    def init(state), do: called({:init, state}, {:ok, {:started, state}})
    def handle_in({result, _opts} = message, state), do: called({:handle_in, message, state}, result)
    def handle_control({result, _opts} = message, state), do: called({:handle_control, message, state}, result)
    def handle_info(result, state), do: called({:handle_info, result, state}, result)
    def terminate(reason, state), do: called({:terminate, reason, state}, :terminated)

    defp called(call, result) do
      send(self(), call)
      if is_function(result), do: result.(), else: result
    end
  end

  # A socket without the callbacks that are optional.
  defmodule Bare do
    def child_spec(_opts), do: :ignore
    def connect(_info), do: {:ok, :connected}
    def init(state), do: {:ok, state}
    def handle_in(_message, state), do: {:ok, state}
    def handle_info(_message, state), do: {:ok, state}
    def terminate(_reason, _state), do: :ok
  end

  # The gate of all guarded sockets of this module. Each test starts its own gate of this name.
  @gate Penstock.SocketTest.Sockets

  defmodule Guarded do
    use Penstock.Socket, socket: Plain, gate: Penstock.SocketTest.Sockets
  end

  # The gate of the test that looks at the log, in which no other test may have its line.
  @missing Penstock.SocketTest.Missing

  defmodule Unguarded do
    use Penstock.Socket, socket: Plain, gate: Penstock.SocketTest.Missing
  end

  defmodule GuardedBare do
    use Penstock.Socket, socket: Bare, gate: Penstock.SocketTest.Sockets
  end

  defmodule Patient do
    use Penstock.Socket, socket: Plain, gate: Penstock.SocketTest.Sockets, timeout: :infinity
  end

  defmodule WithKey do
    use Penstock.Socket,
      socket: Plain,
      gate: Penstock.SocketTest.Sockets,
      key: fn info -> Map.fetch!(info.params, "user") end
  end

  defmodule WithoutKey do
    use Penstock.Socket, socket: Plain, gate: Penstock.SocketTest.Sockets, key: :none
  end

  defmodule WithKeys do
    use Penstock.Socket,
      socket: Plain,
      gate: Penstock.SocketTest.Sockets,
      keys: %{Penstock.SocketTest.PerUser => {Map, :get, [:user]}},
      cost: & &1.cost
  end

  defmodule Proxied do
    use Penstock.Socket, socket: Plain, gate: Penstock.SocketTest.Sockets, key: &__MODULE__.client/1

    def client(%{connect_info: info}) do
      conn = %{remote_ip: info.peer_data.address, req_headers: info.x_headers}
      Penstock.Plug.client(trusted_proxies: ["10.0.0.0/8"]).(conn)
    end
  end

  defmodule WithoutGate do
    use Penstock.Socket, socket: Plain
  end

  @transports [:websocket, :longpoll]
  @refused_with {:shutdown, :refused}

  defp start_gate(opts), do: start_pool([name: @gate] ++ opts)

  defp info(transport, more \\ %{}) do
    Map.merge(%{transport: transport, endpoint: Endpoint, options: [], params: %{}, connect_info: %{}}, more)
  end

  defp from(address), do: %{connect_info: %{peer_data: %{address: address, port: 50_000, ssl_cert: nil}}}

  # Opens a socket as the server of its transport does. Returns `{:ok, state}`, or what refused it.
  defp open(guarded, info) do
    with {:ok, state} <- guarded.connect(info), do: guarded.init(state)
  end

  defp in_use, do: Pool.info(@gate).in_use

  defp calls(calls \\ []) do
    receive do
      call when is_tuple(call) and elem(call, 0) in [:connect, :init, :handle_in, :handle_info, :terminate] ->
        calls([elem(call, 0) | calls])
    after
      0 -> Enum.reverse(calls)
    end
  end

  defp refused?({:stop, @refused_with, {1013, _text}, _state}), do: true
  defp refused?({:error, _reason}), do: true
  defp refused?({:ok, _state}), do: false

  describe "a guarded socket" do
    test "passes each callback, its arguments and its result through" do
      start_gate(limit: 1)

      for transport <- @transports do
        actor = actor()

        passes = fn ->
          info = info(transport)
          assert {:ok, state} = Guarded.connect(info)
          assert_received {:connect, ^info}
          assert Guarded.init(state) == {:ok, {:started, :connected}}
          assert_received {:init, :connected}

          for result <- [{:ok, :next}, {:reply, :ok, {:text, "hi"}, :next}, {:stop, :normal, :next}] do
            assert Guarded.handle_in({result, opcode: :text}, :state) == result
            assert_received {:handle_in, {^result, opcode: :text}, :state}
            assert Guarded.handle_control({result, opcode: :ping}, :state) == result
            assert_received {:handle_control, {^result, opcode: :ping}, :state}
          end

          for result <- [{:ok, :next}, {:push, {:text, "hi"}, :next}, {:stop, :normal, 1001, :next}] do
            assert Guarded.handle_info(result, :state) == result
            assert_received {:handle_info, ^result, :state}
          end

          assert Guarded.terminate(:closed, :state) == :terminated
          assert_received {:terminate, :closed, :state}
          :passed
        end

        assert tell(actor, passes) == :passed
        kill(actor)
        eventually(fn -> in_use() == 0 end)
      end
    end

    test "starts the processes of the other" do
      opts = [endpoint: Endpoint, websocket: true]
      assert %{id: Plain, start: {Agent, :start_link, [fun]}} = Guarded.child_spec(opts)
      assert fun.() == opts
      assert %{id: {:drainer, Plain}, start: {Agent, :start_link, [fun]}} = Guarded.drainer_spec(opts)
      assert fun.() == opts
    end

    test "does without the callbacks that the other has not" do
      start_gate(limit: 1)
      assert GuardedBare.child_spec(endpoint: Endpoint) == :ignore
      assert GuardedBare.drainer_spec(endpoint: Endpoint) == :ignore
      assert {:ok, :connected} = open(GuardedBare, info(:websocket))
      assert GuardedBare.handle_control({"", opcode: :ping}, :connected) == {:ok, :connected}
    end
  end

  describe "the permit" do
    test "is held by the process of the transport until its death, and taken once" do
      start_gate(limit: 10)

      for transport <- @transports do
        actor = actor()
        assert {:ok, {:started, :connected}} = tell(actor, fn -> open(Guarded, info(transport)) end)
        assert [%{pid: ^actor, permits: 1}] = Pool.holders(@gate)
        assert tell(actor, fn -> Guarded.terminate(:closed, {:started, :connected}) end) == :terminated
        assert in_use() == 1
        kill(actor)
        eventually(fn -> in_use() == 0 end)
      end
    end

    test "is not taken by connect of a websocket, whose process may be another" do
      start_gate(limit: 1)
      request = actor()
      {:ok, state} = tell(request, fn -> Guarded.connect(info(:websocket)) end)
      assert in_use() == 0
      transport = actor()
      assert {:ok, {:started, :connected}} = tell(transport, fn -> Guarded.init(state) end)
      kill(request)
      assert [%{pid: ^transport, permits: 1}] = Pool.holders(@gate)
    end

    test "is taken by init for a transport that Phoenix does not know" do
      start_gate(limit: 1)
      {:ok, state} = Guarded.connect(info({Phoenix.ChannelTest, self()}))
      assert in_use() == 0
      assert {:ok, {:started, :connected}} = Guarded.init(state)
      assert in_use() == 1
    end

    test "is kept if init answers with a message" do
      start_gate(limit: 2)
      assert {:push, {:text, "hi"}, :s} = open(Guarded, info(:websocket, %{state: {:init, {:push, {:text, "hi"}, :s}}}))
      assert in_use() == 1
    end

    test "comes back at once if the other socket refuses or stops" do
      start_gate(limit: 1)

      for result <- [:error, {:error, :not_you}, :nonsense], transport <- @transports do
        assert Guarded.connect(info(transport, %{connect: result})) == result
        assert in_use() == 0
      end

      for result <- [{:stop, :normal, :s}, {:stop, :normal, 1000, :s}, {:stop, :normal, 1000, [{:text, "bye"}], :s}],
          transport <- @transports do
        assert open(Guarded, info(transport, %{state: {:init, result}})) == result
        assert in_use() == 0
      end
    end

    test "comes back at once if the other socket raises, throws or exits" do
      start_gate(limit: 1)
      failures = [fn -> raise "no" end, fn -> throw(:no) end, fn -> exit(:no) end]

      for {failure, kind} <- Enum.zip(failures, [:error, :throw, :exit]), transport <- @transports do
        for info <- [%{connect: failure}, %{state: {:init, failure}}] do
          assert {^kind, reason, [_ | _]} =
                   (try do
                      open(Guarded, info(transport, info))
                    catch
                      kind, reason -> {kind, reason, __STACKTRACE__}
                    end)

          assert reason in [%RuntimeError{message: "no"}, :no]
          assert in_use() == 0
        end
      end

      assert {:ok, _state} = open(Guarded, info(:websocket))
    end
  end

  describe "a refusal" do
    test "closes a websocket with 1013 in init, and does not start the other socket" do
      start_gate(limit: 1)
      holder(@gate)
      assert {:ok, state} = Guarded.connect(info(:websocket))
      assert calls() == [:connect]
      assert {:stop, @refused_with, {1013, "try again later"}, refused} = Guarded.init(state)

      # A server may still deliver messages until its process ends.
      assert Guarded.handle_in({"hi", opcode: :text}, refused) == {:ok, refused}
      assert Guarded.handle_control({"", opcode: :ping}, refused) == {:ok, refused}
      assert Guarded.handle_info(:socket_drain, refused) == {:ok, refused}
      assert Guarded.terminate({:error, @refused_with}, refused) == :ok
      assert calls() == []
    end

    test "comes from connect for a long poll, and does not ask the other socket" do
      start_gate(limit: 1)
      holder(@gate)
      assert Guarded.connect(info(:longpoll)) == {:error, :full}
      assert calls() == []
    end

    test "tells a websocket after how many seconds a limiter or a ban admits it" do
      start_supervised!({RateLimiter, name: @gate, limit: 1, per: 3_500, clock: :manual})
      assert {:ok, _state} = open(WithKey, info(:websocket, %{params: %{"user" => 1}}))

      assert {:stop, _reason, {1013, "try again in 4 s"}, _state} =
               open(WithKey, info(:websocket, %{params: %{"user" => 1}}))

      stop_supervised!({RateLimiter, @gate})
      start_supervised!({Ban, name: @gate})
      :ok = Ban.ban(@gate, 1, 60_000)

      assert {:stop, _reason, {1013, "try again in 60 s"}, _state} =
               open(WithKey, info(:websocket, %{params: %{"user" => 1}}))

      :ok = Ban.ban(@gate, 1, :infinity)

      assert {:stop, _reason, {1013, "try again later"}, _state} =
               open(WithKey, info(:websocket, %{params: %{"user" => 1}}))
    end

    test "comes from a gate that is closed or was never started, with one line of log a minute" do
      log =
        capture_log(fn ->
          for transport <- @transports, _ <- 1..3, do: assert(refused?(open(Unguarded, info(transport))))
          start_pool(name: @missing, limit: 5)
          assert {:ok, _state} = open(Unguarded, info(:websocket))
          assert {:error, {:timeout, 1}} = Pool.drain(@missing, 0)
          for transport <- @transports, _ <- 1..3, do: assert(refused?(open(Unguarded, info(transport))))
        end)

      assert [_, _] = String.split(log, "the gate Penstock.SocketTest.Missing is closed or not running")
    end

    test "ends a websocket's wait, and comes at once for a long poll" do
      start_gate(limit: 1)
      assert {:ok, _state} = open(Patient, info(:websocket))
      assert Patient.connect(info(:longpoll)) == {:error, :full}
      waiting = ask(actor(), fn -> open(Patient, info(:websocket)) end)
      await_waiting(@gate, 1)
      Pool.update(@gate, limit: 2)
      assert {:ok, {:started, :connected}} = answer(waiting)
    end
  end

  describe "the key" do
    test "is that of the client's address" do
      start_supervised!({KeyedPool, name: @gate, limit: 1})

      for {transport, address} <- [websocket: {192, 0, 2, 7}, longpoll: {0x2001, 0xDB8, 0, 0, 0, 0, 0, 7}] do
        info = info(transport, from(address))
        assert {:ok, _state} = open(Guarded, info)
        assert refused?(open(Guarded, info))
        assert KeyedPool.info(@gate, IP.key(address)).in_use == 1
      end
    end

    test "is missing without the address, so limits with keys raise, and pools do not" do
      kinds = [{KeyedPool, limit: 1}, {RateLimiter, limit: 1, per: 1_000}, {Ban, []}]

      for {kind, opts} <- kinds, transport <- @transports do
        start_supervised!({kind, [name: @gate] ++ opts})
        error = assert_raise ArgumentError, fn -> Guarded.connect(info(transport)) end
        assert error.message =~ "the gate Penstock.SocketTest.Sockets goes by a key"
        assert error.message =~ "websocket: [connect_info: [:peer_data]]"
        stop_supervised!({kind, @gate})
      end

      start_gate(limit: 2)
      for transport <- @transports, do: assert({:ok, _state} = open(Guarded, info(transport)))
    end

    test "is missing by key: :none, for a limiter that all share" do
      start_supervised!({RateLimiter, name: @gate, limit: 1, per: 60_000})
      assert {:ok, _state} = open(WithoutKey, info(:websocket, from({192, 0, 2, 7})))
      assert refused?(open(WithoutKey, info(:websocket, from({192, 0, 2, 8}))))
    end

    test "is what the function of the info returns, and nothing is taken if it raises" do
      start_supervised!({KeyedPool, name: @gate, limit: 1})
      alice = info(:websocket, %{params: %{"user" => "alice"}})
      assert {:ok, _state} = open(WithKey, alice)
      assert refused?(open(WithKey, alice))
      assert {:ok, _state} = open(WithKey, info(:longpoll, %{params: %{"user" => "bob"}}))

      for transport <- @transports do
        assert_raise ArgumentError, ~r/:key/, fn -> WithKey.connect(info(transport, %{params: %{"user" => nil}})) end
        assert_raise BadMapError, fn -> WithKey.connect(info(transport, %{params: :none})) end
      end

      assert KeyedPool.info(@gate).in_use == 2
    end

    test "goes by limit with :keys, next to a cost" do
      per_user = Penstock.SocketTest.PerUser
      per_address = Penstock.SocketTest.PerAddress
      start_supervised!({KeyedPool, name: per_user, limit: 1})
      start_supervised!({RateLimiter, name: per_address, limit: 5, per: 60_000, clock: :manual})
      start_supervised!({Gate, name: @gate, limits: [per_user, per_address]})

      error = assert_raise ArgumentError, fn -> WithKeys.connect(info(:websocket, %{user: 1, cost: 1})) end
      assert error.message =~ "the limit Penstock.SocketTest.PerAddress of the gate #{inspect(@gate)} goes by a key"

      socket = info(:websocket, Map.merge(from({192, 0, 2, 7}), %{user: 1, cost: 3}))
      assert {:ok, _state} = open(WithKeys, socket)
      assert KeyedPool.info(per_user, 1).in_use == 1
      assert RateLimiter.peek(per_address, IP.key({192, 0, 2, 7})) == {:allow, 1}
      assert {:stop, _reason, {1013, "try again later"}, _state} = open(WithKeys, %{socket | cost: 1})
      assert {:stop, _reason, {1013, "try again in 12 s"}, _state} = open(WithKeys, %{socket | user: 2})
      assert_raise ArgumentError, ~r/:cost/, fn -> WithKeys.connect(%{socket | cost: 0}) end
    end

    test "can be read behind a proxy as the documentation shows" do
      start_supervised!({KeyedPool, name: @gate, limit: 1})
      %{connect_info: peer} = from({10, 0, 0, 1})
      headers = [{"x-forwarded-for", "192.0.2.7"}]
      proxied = info(:websocket, %{connect_info: Map.put(peer, :x_headers, headers)})
      assert {:ok, _state} = open(Proxied, proxied)
      assert KeyedPool.info(@gate, IP.key({192, 0, 2, 7})).in_use == 1
    end
  end

  describe "the options" do
    # Reads the options as the endpoint does when it starts.
    defp read(opts), do: Penstock.Socket.config_of(Module.concat(__MODULE__, inspect(make_ref())), fn -> opts end)

    test "are read when the endpoint starts" do
      message =
        "the option :gate is missing, such as use Penstock.Socket, socket: MyAppWeb.UserSocket, gate: MyApp.Sockets"

      assert_raise ArgumentError, message, fn -> WithoutGate.child_spec(endpoint: Endpoint) end
    end

    test "can be in any order" do
      opts = [socket: Plain, gate: @gate, key: :none, keys: %{}, cost: 2, timeout: :infinity]
      assert read(opts) == read(Enum.reverse(opts))
    end

    for {opts, message} <- [
          {[gate: :a], "the option :socket is missing"},
          {[socket: Plain], "the option :gate is missing"},
          {[socket: Plain, gate: :a, sokcet: 1], "unknown option :sokcet, did you mean :socket?"},
          {[socket: Nothing, gate: :a], "expected :socket to be a module that implements Phoenix.Socket.Transport"},
          {[socket: Enum, gate: :a], "expected :socket to be a module that implements Phoenix.Socket.Transport"},
          {[socket: "a", gate: :a], "expected :socket to be a module that implements Phoenix.Socket.Transport"},
          {[socket: Plain, gate: nil], "expected gate to be the name of a gate"},
          {[socket: Plain, gate: "a"], "expected gate to be the name of a gate"},
          {[socket: Plain, gate: :a, key: :user], "expected :key to be a function of the info of a socket"},
          {[socket: Plain, gate: :a, key: nil], "expected :key to be a function of the info of a socket"},
          {[socket: Plain, gate: :a, keys: []],
           "expected :keys to be a map of the names of limits to functions of the info"},
          {[socket: Plain, gate: :a, keys: %{a: 1}], "expected the key of :a in :keys to be a function of the info"},
          {[socket: Plain, gate: :a, cost: 0], "expected :cost to be an integer"},
          {[socket: Plain, gate: :a, cost: {1, 2}], "expected :cost to be a function of the info of a socket"},
          {[socket: Plain, gate: :a, timeout: -1], "expected :timeout to be a number of milliseconds"},
          {:none, "expected options to be a keyword list"}
        ] do
      test "of #{inspect(opts)} raise" do
        error = assert_raise ArgumentError, fn -> read(unquote(Macro.escape(opts))) end
        assert error.message =~ unquote(message)
      end
    end
  end

  test "transports that are killed at random instants leave exact counts" do
    limit = 5
    start_gate(limit: limit)

    # Opens sockets until one is neither refused nor stopped. Then holds it until a kill. A kill takes
    # effect when the process is scheduled out, so each round begins with few reductions left.
    life = fn life ->
      :erlang.yield()
      :erlang.bump_reductions(4_000 - :rand.uniform(100))
      state = Enum.random([:stays, {:init, {:stop, :normal, :gone}}])

      case open(Guarded, info(Enum.random(@transports), %{state: state})) do
        {:ok, _state} -> receive do: (:never -> :ok)
        _refused_or_stopped -> life.(life)
      end
    end

    transports =
      Enum.reduce(1..2_000, Enum.map(1..12, fn _ -> spawn(fn -> life.(life) end) end), fn _, [oldest | others] ->
        Process.exit(oldest, :kill)
        Enum.each(1..:rand.uniform(2_000), fn _ -> :ok end)
        others ++ [spawn(fn -> life.(life) end)]
      end)

    # The permits of the dead come back when the monitors of the pool have fired.
    holders = fn -> Enum.sort(for %{pid: pid, permits: 1} <- Pool.holders(@gate), do: pid) end
    # A transport that holds its permit for good waits; one that is about to be stopped does not.
    waits? = fn pid -> Process.info(pid, :status) == {:status, :waiting} end
    eventually(fn -> match?([_, _, _, _, _], holders.()) and Enum.all?(holders.(), waits?) end)
    assert holders.() -- transports == []
    assert in_use() == limit
    assert Pool.info(@gate).peak == limit

    # Seven living transports ask again and again.
    eventually(fn -> Pool.info(@gate).rejected > 0 end)

    {survivors, others} = Enum.split(transports, 3)
    Enum.each(others, &kill/1)
    eventually(fn -> holders.() == Enum.sort(survivors) end)
    assert in_use() == 3
    Enum.each(survivors, &kill/1)
    assert all_back(@gate, limit) == {0, 0, 0}
  end
end
