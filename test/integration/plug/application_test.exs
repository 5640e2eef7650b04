# Penstock.Plug in applications of the real Plug and Phoenix, on Bandit and on Cowboy. Runs with
# PENSTOCK_EBIN, see CONTRIBUTING.md.
if Code.ensure_loaded?(Phoenix.Endpoint) and Code.ensure_loaded?(Bandit) do
  defmodule Penstock.Integration.PlugApplicationTest do
    use Penstock.PoolCase, async: false

    alias Penstock.{Gate, HTTPClient, KeyedPool, RateLimiter, StructuredField}

    @moduletag :plug

    defmodule Actions do
      # What the applications do with a request, by its path.
      import Plug.Conn

      def serve(%{request_path: "/wait"} = conn) do
        send(:persistent_term.get(__MODULE__), {:serving, self()})
        receive do: (:go_on -> send_resp(conn, 200, "waited"))
      end

      def serve(%{request_path: "/chunked"} = conn) do
        conn = send_chunked(conn, 200)
        {:ok, conn} = chunk(conn, "a")
        send(:persistent_term.get(__MODULE__), {:serving, self()})
        receive do: (:go_on -> :ok)
        {:ok, conn} = chunk(conn, "b")
        conn
      end

      def serve(%{request_path: "/file"} = conn), do: send_file(conn, 200, __ENV__.file)
      def serve(%{request_path: "/raise"}), do: raise("no")
      def serve(%{request_path: "/throw"}), do: throw(:no)
      def serve(%{request_path: "/exit"}), do: exit(:no)
      def serve(conn), do: send_resp(conn, 200, "hello")
    end

    defmodule Router do
      use Plug.Router
      use Penstock.Plug, gate: Penstock.Integration.Router.Gate

      plug(:match)
      plug(:dispatch)
      match(_, do: Actions.serve(conn))
    end

    defmodule Rescuing do
      use Plug.Router
      use Plug.ErrorHandler
      use Penstock.Plug, gate: Penstock.Integration.Rescuing.Gate, key: &Penstock.Integration.Rescuing.key/1

      plug(:match)
      plug(:dispatch)
      match(_, do: Actions.serve(conn))

      @impl Plug.ErrorHandler
      def handle_errors(conn, %{reason: reason}), do: send_resp(conn, 500, "rendered #{Exception.message(reason)}")
    end

    defmodule Limited do
      # Plug.Router initialises its plugs at compile time.
      use Plug.Router

      plug(Penstock.Plug.Limit,
        gate: Penstock.Integration.Limited.Limiter,
        key: Penstock.Plug.client(trusted_proxies: ["127.0.0.0/8"])
      )

      plug(:match)
      plug(:dispatch)
      match(_, do: Actions.serve(conn))
    end

    defmodule Pages do
      def render("500.html", _assigns), do: "our page of errors"
      def render(template, _assigns), do: template
    end

    defmodule Endpoint do
      use Phoenix.Endpoint, otp_app: :penstock
      use Penstock.Plug, gate: Penstock.Integration.Endpoint.Gate, key: &Penstock.Integration.Rescuing.key/1

      plug(:serve)
      def serve(conn, _opts), do: Actions.serve(conn)
    end

    setup do
      :persistent_term.put(Actions, self())
      {:ok, _apps} = Application.ensure_all_started(:telemetry)
      {:ok, _apps} = Application.ensure_all_started(:plug)
      {:ok, _apps} = Application.ensure_all_started(:bandit)
      {:ok, _apps} = Application.ensure_all_started(:phoenix)
      {:ok, _apps} = Application.ensure_all_started(:plug_cowboy)
      :ok
    end

    defp start_keyed!(name, limit) do
      start_supervised!({KeyedPool, name: name, limit: limit}, id: name)
      name
    end

    defp serve!(:bandit, plug, opts) do
      pid = start_supervised!({Bandit, [plug: plug, port: 0, startup_log: false] ++ opts}, id: make_ref())
      {:ok, {_ip, port}} = ThousandIsland.listener_info(pid)
      port
    end

    defp serve!(:cowboy, plug, opts) do
      name = Module.concat(__MODULE__, "Cowboy#{System.unique_integer([:positive])}")
      start_supervised!({Plug.Cowboy, scheme: :http, plug: plug, options: [port: 0, ref: name] ++ opts}, id: name)
      :ranch.get_port(name)
    end

    defp get(port, path, headers \\ []) do
      {:ok, answer} = HTTPClient.request(HTTPClient.connect!(port), path, headers: headers)
      answer
    end

    defp status(port, path, headers \\ []), do: elem(get(port, path, headers), 0)

    defp serving(n) do
      for _ <- 1..n do
        assert_receive {:serving, pid}, 30_000
        pid
      end
    end

    defp free?(gate), do: eventually(fn -> KeyedPool.info(gate).in_use == 0 end)

    for server <- [:bandit, :cowboy] do
      describe "on #{server}" do
        @server server

        test "permits come back however a request ends" do
          gate = start_keyed!(Penstock.Integration.Router.Gate, 1)
          port = serve!(@server, Router, [])

          for path <- ["/", "/file", "/raise", "/throw", "/exit"], _ <- 1..3 do
            assert status(port, path) == if(path in ["/", "/file"], do: 200, else: 500)
            assert free?(gate)
          end

          assert KeyedPool.info(gate).rejected == 0
        end

        test "300 chunked responses at limit 100 hold 100 permits at most, and none in the end" do
          gate = start_keyed!(Penstock.Integration.Router.Gate, 100)
          port = serve!(@server, Router, [])
          sockets = for _ <- 1..300, do: HTTPClient.connect!(port)
          for socket <- sockets, do: :ok = HTTPClient.ask(socket, "/chunked")
          serving = serving(100)
          assert eventually(fn -> KeyedPool.info(gate).rejected == 200 end)
          refute_received {:serving, _pid}
          for pid <- serving, do: send(pid, :go_on)
          answers = for socket <- sockets, do: socket |> HTTPClient.answer() |> elem(1) |> elem(0)
          assert Enum.frequencies(answers) == %{200 => 100, 503 => 200}
          assert free?(gate)
        end

        test "a client that waits for its answers is never refused at limit 1" do
          start_keyed!(Penstock.Integration.Router.Gate, 1)
          socket = HTTPClient.connect!(serve!(@server, Router, []))

          for _ <- 1..300 do
            assert {:ok, {200, _headers, "hello"}} = HTTPClient.request(socket, "/")
          end
        end

        test "permits come back if clients go away and processes are killed" do
          gate = start_keyed!(Penstock.Integration.Router.Gate, 20)
          port = serve!(@server, Router, [])

          pairs =
            for _ <- 1..20 do
              socket = HTTPClient.connect!(port)
              :ok = HTTPClient.ask(socket, "/wait")
              [pid] = serving(1)
              {socket, pid}
            end

          assert KeyedPool.info(gate).in_use == 20

          for {{socket, pid}, at} <- Enum.with_index(pairs) do
            if rem(at, 2) == 0, do: Process.exit(pid, :kill), else: :gen_tcp.close(socket)
          end

          # Bandit tells its process of a client that went away when it sends the response.
          for {_socket, pid} <- pairs, do: send(pid, :go_on)
          assert free?(gate)
        end

        test "a limiter in a pipeline that is initialised at compile time tells its rate" do
          limiter = Penstock.Integration.Limited.Limiter
          start_supervised!({RateLimiter, name: limiter, limit: 2, per: 60_000})
          port = serve!(@server, Limited, [])
          forwarded = &[{"x-forwarded-for", "#{&1}, 127.0.0.9"}]

          for {status, left} <- [{200, 1}, {200, 0}, {429, 0}] do
            assert {^status, headers, _body} = get(port, "/", forwarded.("192.0.2.1"))
            headers = Map.new(headers)
            name = inspect(limiter)
            assert [{^name, %{"r" => ^left}}] = StructuredField.parse!(headers["ratelimit"])
            assert [{^name, %{"q" => 2, "w" => 60}}] = StructuredField.parse!(headers["ratelimit-policy"])
            assert Map.has_key?(headers, "retry-after") == (status == 429)
          end

          assert status(port, "/", forwarded.("192.0.2.2")) == 200
        end

        test "an error of a function of the options is handled as an error of the application" do
          start_keyed!(Penstock.Integration.Rescuing.Gate, 1)
          port = serve!(@server, Rescuing, [])
          assert {200, _headers, "hello"} = get(port, "/")
          assert {500, _headers, "rendered no key"} = get(port, "/", [{"x-raise", "yes"}])
          assert {500, _headers, "rendered no"} = get(port, "/raise")
          assert {200, _headers, "hello"} = get(port, "/")
        end

        test "clients of a unix socket are served, as one client" do
          start_keyed!(Penstock.Integration.Router.Gate, 1)
          path = Path.join(System.tmp_dir!(), "penstock-#{System.unique_integer([:positive])}.sock")
          on_exit(fn -> File.rm(path) end)

          if @server == :bandit,
            do: start_supervised!({Bandit, plug: Router, ip: {:local, path}, port: 0, startup_log: false}),
            else:
              start_supervised!(
                {Plug.Cowboy, scheme: :http, plug: Router, options: [ip: {:local, path}, port: 0, ref: make_ref()]}
              )

          {:ok, socket} = :gen_tcp.connect({:local, path}, 0, [:binary, active: false])
          assert {:ok, {200, _headers, "hello"}} = HTTPClient.request(socket, "/")
        end

        test "an endpoint of Phoenix is guarded with the rendering of its errors" do
          gate = start_keyed!(Penstock.Integration.Endpoint.Gate, 1)
          adapter = if @server == :bandit, do: Bandit.PhoenixAdapter, else: Phoenix.Endpoint.Cowboy2Adapter

          Application.put_env(:penstock, Endpoint,
            adapter: adapter,
            server: true,
            http: [ip: {127, 0, 0, 1}, port: 0],
            render_errors: [formats: [html: Pages], layout: false],
            secret_key_base: String.duplicate("a", 64)
          )

          start_supervised!(Endpoint)
          {:ok, {_ip, port}} = Endpoint.server_info(:http)
          assert {200, _headers, "hello"} = get(port, "/")
          assert {500, _headers, "our page of errors"} = get(port, "/raise")
          assert {500, _headers, "our page of errors"} = get(port, "/", [{"x-raise", "yes"}])

          socket = HTTPClient.connect!(port)
          :ok = HTTPClient.ask(socket, "/wait")
          [pid] = serving(1)
          assert {503, _headers, body} = get(port, "/")
          assert body =~ "temporary-reduced-capacity"
          send(pid, :go_on)
          assert {:ok, {200, _headers, "waited"}} = HTTPClient.answer(socket)
          assert free?(gate)
        end
      end
    end

    test "a module behind the plug of Bandit is guarded without a macro" do
      gate = start_keyed!(__MODULE__.Behind, 1)
      start_supervised!({RateLimiter, name: __MODULE__.Rate, limit: 100, per: 1_000})
      start_supervised!({Gate, name: __MODULE__.Both, limits: [__MODULE__.Rate, gate]})
      start_keyed!(Penstock.Integration.Router.Gate, 5)
      port = serve!(:bandit, {Penstock.Plug, to: Router, gate: __MODULE__.Both}, [])
      assert {200, headers, "hello"} = get(port, "/")
      assert [{_name, %{"r" => 99}}] = StructuredField.parse!(Map.new(headers)["ratelimit"])
    end

    test "one connection of HTTP/2 makes few processes on Bandit with the option of the guide" do
      gate = start_keyed!(Penstock.Integration.Router.Gate, 10)
      options = [http_2_options: [default_local_settings: [max_concurrent_streams: 100]]]
      port = serve!(:bandit, Router, options)
      before = :erlang.system_info(:process_count)

      # h2load opens more streams than it may, and then waits for answers that never come.
      args = ["5", "h2load", "-n", "20000", "-c", "1", "-m", "20000", "http://127.0.0.1:#{port}/"]
      load = Task.async(fn -> System.cmd("timeout", args) end)
      peak = peak(load, 0)
      assert peak - before < 1_000
      assert %{acquired: acquired, rejected: rejected} = KeyedPool.info(gate)
      assert acquired + rejected >= 100
      assert status(port, "/") == 200
      assert free?(gate)
    end

    defp peak(load, peak) do
      case Task.yield(load, 1) do
        {:ok, {_out, _status}} ->
          peak

        nil ->
          peak(load, max(peak, :erlang.system_info(:process_count)))
      end
    end
  end

  defmodule Penstock.Integration.Rescuing do
    def key(conn) do
      if List.keymember?(conn.req_headers, "x-raise", 0), do: raise("no key")
      Penstock.Plug.client(conn)
    end
  end
end
