# Runs if Phoenix, LiveView, Bandit and Plug.Cowboy are on the code path. See test/test_helper.exs.
if Enum.all?([Phoenix.LiveView, Bandit, Plug.Cowboy, Jason], &Code.ensure_loaded?/1) do
  defmodule Penstock.Integration.Channel do
    use Phoenix.Channel

    def join("room:" <> _name, _payload, socket), do: {:ok, socket}
    def handle_in("echo", payload, socket), do: {:reply, {:ok, payload}, socket}
  end

  defmodule Penstock.Integration.UserSocket do
    use Phoenix.Socket

    channel("room:*", Penstock.Integration.Channel)

    def connect(%{"reject" => _reason}, _socket, _info), do: {:error, :rejected}
    def connect(_params, socket, _info), do: {:ok, socket}
    def id(_socket), do: "all_users"
  end

  defmodule Penstock.Integration.GuardedSocket do
    use Penstock.Socket, socket: Penstock.Integration.UserSocket, gate: Penstock.Integration.Sockets
  end

  defmodule Penstock.Integration.GuardedLiveSocket do
    use Penstock.Socket, socket: Phoenix.LiveView.Socket, gate: Penstock.Integration.Sockets
  end

  defmodule Penstock.Integration.CounterLive do
    use Phoenix.LiveView

    def mount(_params, _session, socket), do: {:ok, assign(socket, :count, 0)}
    def handle_event("add", %{"value" => n}, socket), do: {:noreply, update(socket, :count, &(&1 + n))}

    def render(assigns) do
      ~H"""
      <meta name="csrf-token" content={Plug.CSRFProtection.get_csrf_token()} /> count: <%= @count %>
      """
    end
  end

  defmodule Penstock.Integration.Router do
    use Phoenix.Router
    import Phoenix.LiveView.Router

    pipeline :browser do
      plug(:fetch_session)
      plug(:protect_from_forgery)
    end

    scope "/" do
      pipe_through(:browser)
      live("/counter", Penstock.Integration.CounterLive)
    end
  end

  defmodule Penstock.Integration.Endpoint do
    use Phoenix.Endpoint, otp_app: :penstock_integration

    @session store: :cookie, key: "_penstock", signing_salt: "12345678"

    # Long polls do not end by themselves within a test.
    @window_ms 120_000

    socket("/socket", Penstock.Integration.GuardedSocket,
      websocket: [connect_info: [:peer_data]],
      longpoll: [connect_info: [:peer_data], window_ms: @window_ms]
    )

    socket("/live", Penstock.Integration.GuardedLiveSocket,
      websocket: [connect_info: [:peer_data, session: @session]],
      longpoll: [connect_info: [:peer_data, session: @session], window_ms: @window_ms]
    )

    plug(Plug.Session, @session)
    plug(Penstock.Integration.Router)
  end

  for {name, adapter} <- [Bandit: Bandit.PhoenixAdapter, Cowboy: Phoenix.Endpoint.Cowboy2Adapter] do
    defmodule Module.concat(Penstock.Integration, "SocketsOn#{name}Test") do
      # Guarded sockets behind real servers. The cases are the same for both.
      use Penstock.PoolCase

      import ExUnit.CaptureLog
      require Phoenix.ChannelTest, as: ChannelTest

      alias Penstock.{HTTPClient, IP, KeyedPool, WebSocketClient}
      alias Penstock.Integration.Endpoint

      @endpoint Penstock.Integration.Endpoint
      @moduletag :plug
      @moduletag timeout: 120_000

      @gate Penstock.Integration.Sockets
      @adapter adapter
      @websocket "/socket/websocket?vsn=2.0.0"
      @longpoll "/socket/longpoll?vsn=2.0.0"
      @heartbeat ~s([null,"1","phoenix","heartbeat",{}])

      setup do
        {:ok, _apps} = Application.ensure_all_started(:phoenix_live_view)
        {:ok, _apps} = Application.ensure_all_started(:bandit)
        {:ok, _apps} = Application.ensure_all_started(:plug_cowboy)

        Application.put_env(:penstock_integration, Endpoint,
          adapter: @adapter,
          http: [ip: {127, 0, 0, 1}, port: 0],
          server: true,
          pubsub_server: Penstock.Integration.PubSub,
          secret_key_base: String.duplicate("s", 64),
          live_view: [signing_salt: "12345678"],
          check_origin: false
        )

        start_supervised!({Phoenix.PubSub, name: Penstock.Integration.PubSub})
        start_supervised!(Endpoint)
        {:ok, {_address, port}} = Endpoint.server_info(:http)
        {:ok, port: port}
      end

      # Runs `fun` `count` times, at most `at_once` at a time. Returns the results.
      defp all(count, at_once, fun) do
        1..count
        |> Task.async_stream(fn _ -> fun.() end, max_concurrency: at_once, timeout: :infinity, ordered: false)
        |> Enum.map(fn {:ok, result} -> result end)
      end

      # Opens a websocket for the process `owner`. Returns `{:open, socket}` if the server answers a
      # heartbeat, or `{:closed, code, text, socket}`.
      defp open(port, path, owner) do
        {:ok, socket} = WebSocketClient.open(port, path)
        # The server may have closed the connection already.
        _ok_or_closed = WebSocketClient.send_text(socket, @heartbeat)

        result =
          case WebSocketClient.read(socket) do
            {:text, reply} ->
              assert [nil, "1", "phoenix", "phx_reply", %{"status" => "ok"}] = Jason.decode!(reply)
              {:open, socket}

            {:close, code, text} ->
              {:closed, code, text, socket}
          end

        :ok = :gen_tcp.controlling_process(socket, owner)
        result
      end

      defp call(socket, message) do
        :ok = WebSocketClient.send_text(socket, Jason.encode!(message))
        {:text, reply} = WebSocketClient.read(socket)
        [_join, _ref, _topic, "phx_reply", %{"status" => "ok", "response" => response}] = Jason.decode!(reply)
        response
      end

      # Reads frames up to the one that closes the websocket.
      defp read_close(socket) do
        with {:text, _text} <- WebSocketClient.read(socket), do: read_close(socket)
      end

      # Starts a long poll. Returns the JSON of the response.
      defp poll(port, path \\ @longpoll) do
        {200, _headers, body} = HTTPClient.request!(port, path)
        Jason.decode!(body)
      end

      defp in_use, do: Pool.info(@gate).in_use

      # Returns how many connections the server has open.
      defp connections(port) do
        Enum.count(Port.list(), fn one ->
          match?({:ok, {_, ^port}}, :inet.sockname(one)) and match?({:ok, _}, :inet.peername(one))
        end)
      end

      # Ends all long polls.
      defp end_polls do
        for {_, pid, _, _} <- DynamicSupervisor.which_children(Phoenix.Transports.LongPoll.Supervisor) do
          :ok = DynamicSupervisor.terminate_child(Phoenix.Transports.LongPoll.Supervisor, pid)
        end
      end

      test "of 120 websockets at limit 50, exactly 50 stay, and the others get 1013", %{port: port} do
        start_pool(name: @gate, limit: 50)
        test = self()
        {sockets, log} = with_log(fn -> all(120, 120, fn -> open(port, @websocket, test) end) end)
        refute log =~ ~r/\[(warning|error)\]/
        assert %{true: stay, false: refused} = Enum.group_by(sockets, &match?({:open, _}, &1))
        assert length(stay) == 50
        assert Enum.all?(refused, &match?({:closed, 1013, "try again later", _}, &1))
        assert %{in_use: 50, peak: 50, holders: 50} = Pool.info(@gate)

        # The refused clients have not closed their side, but the server has.
        eventually(fn -> connections(port) == 50 end)

        for {:open, socket} <- stay do
          assert call(socket, ["1", "2", "room:a", "phx_join", %{}]) == %{}
          assert call(socket, ["1", "3", "room:a", "echo", %{"n" => 1}]) == %{"n" => 1}
        end

        for {:open, socket} <- stay, do: :gen_tcp.close(socket)
        eventually(fn -> in_use() == 0 end)
        assert {:open, _socket} = open(port, @websocket, test)
      end

      test "websockets whose processes are killed leave no permit", %{port: port} do
        start_pool(name: @gate, limit: 30)
        test = self()
        assert Enum.all?(all(30, 30, fn -> open(port, @websocket, test) end), &match?({:open, _}, &1))
        for %{pid: pid} <- Pool.holders(@gate), do: kill(pid)
        eventually(fn -> in_use() == 0 end)
        assert {:open, _socket} = open(port, @websocket, test)
      end

      test "requests that do not become websockets leave no permit", %{port: port} do
        start_pool(name: @gate, limit: 50)
        connection = HTTPClient.connect!(port)
        for _ <- 1..20, do: assert({:ok, {400, _, _}} = HTTPClient.request(connection, @websocket))
        assert {:error, 403} = WebSocketClient.open(port, @websocket <> "&reject=yes")
        assert %{in_use: 0, acquired: 0} = Pool.info(@gate)
      end

      test "the application can end its websockets", %{port: port} do
        start_pool(name: @gate, limit: 2)
        {:open, socket} = open(port, @websocket, self())
        Endpoint.broadcast("all_users", "disconnect", %{})
        assert {:close, _code, _text} = WebSocketClient.read(socket)
        # Where Phoenix ends with 1000, Bandit keeps the process until the client closes too.
        :ok = :gen_tcp.close(socket)
        eventually(fn -> in_use() == 0 end)

        # The drainer of the socket ends the websockets that have channels, with 1012, "service restart".
        {:open, socket} = open(port, @websocket, self())
        assert call(socket, ["1", "2", "room:a", "phx_join", %{}]) == %{}
        :ok = stop_supervised(Endpoint)
        assert {:close, 1012, _text} = read_close(socket)
        eventually(fn -> in_use() == 0 end)
      end

      test "of 3,000 long polls at limit 50, exactly 50 start", %{port: port} do
        start_pool(name: @gate, limit: 50)
        polls = all(3_000, 50, fn -> poll(port) end)
        assert %{410 => started, 403 => refused} = Enum.group_by(polls, & &1["status"])
        assert {length(started), length(refused)} == {50, 2_950}
        assert %{in_use: 50, peak: 50, holders: 50} = Pool.info(@gate)
        assert DynamicSupervisor.count_children(Phoenix.Transports.LongPoll.Supervisor).active == 50

        for %{"token" => token} <- started do
          path = @longpoll <> "&token=" <> URI.encode_www_form(token)
          assert {200, _headers, _body} = HTTPClient.request!(port, path, method: "POST", body: @heartbeat)
          assert %{"status" => 200, "messages" => [reply]} = poll(port, path)
          assert [nil, "1", "phoenix", "phx_reply", %{"status" => "ok"}] = Jason.decode!(reply)
        end

        assert in_use() == 50
        end_polls()
        eventually(fn -> in_use() == 0 end)
        assert %{"status" => 410} = poll(port)
        end_polls()
      end

      test "the key is the client's address", %{port: port} do
        start_supervised!({KeyedPool, name: @gate, limit: 1})
        assert {:open, _socket} = open(port, @websocket, self())
        assert {:closed, 1013, _text, _socket} = open(port, @websocket, self())
        assert %{"status" => 403} = poll(port)
        assert KeyedPool.info(@gate, IP.key({127, 0, 0, 1})).in_use == 1
      end

      test "Phoenix.ChannelTest connects to a guarded socket, and joins its channels" do
        start_pool(name: @gate, limit: 1)
        assert {:ok, socket} = ChannelTest.connect(Penstock.Integration.GuardedSocket, %{})
        assert {:ok, %{}, _socket} = ChannelTest.subscribe_and_join(socket, "room:a", %{})
        assert [%{pid: pid}] = Pool.holders(@gate)
        assert pid == self()
      end

      test "a LiveView mounts and answers an event", %{port: port} do
        start_pool(name: @gate, limit: 1)
        {200, headers, html} = HTTPClient.request!(port, "/counter")
        [cookie] = for {"set-cookie", cookie} <- headers, do: cookie |> String.split(";") |> hd()
        [_, csrf] = Regex.run(~r/name="csrf-token" content="([^"]+)"/, html)
        [_, id] = Regex.run(~r/ id="(phx-[^"]+)"/, html)
        [_, session] = Regex.run(~r/data-phx-session="([^"]+)"/, html)
        [_, static] = Regex.run(~r/data-phx-static="([^"]+)"/, html)

        path = "/live/websocket?vsn=2.0.0&_csrf_token=" <> URI.encode_www_form(csrf)
        {:ok, socket} = WebSocketClient.open(port, path, [{"cookie", cookie}])
        topic = "lv:" <> id

        join = %{
          "url" => "http://localhost/counter",
          "params" => %{"_csrf_token" => csrf, "_mounts" => 0},
          "session" => session,
          "static" => static
        }

        assert %{"rendered" => rendered} = call(socket, ["1", "1", topic, "phx_join", join])
        assert "0" in Map.values(rendered)
        assert in_use() == 1

        event = %{"type" => "click", "event" => "add", "value" => %{"value" => 7}}
        assert %{"diff" => diff} = call(socket, ["1", "2", topic, "event", event])
        assert "7" in Map.values(diff)

        {:ok, second} = WebSocketClient.open(port, path, [{"cookie", cookie}])
        assert {:close, 1013, "try again later"} = WebSocketClient.read(second)

        :ok = :gen_tcp.close(socket)
        eventually(fn -> in_use() == 0 end)
      end
    end
  end
end
