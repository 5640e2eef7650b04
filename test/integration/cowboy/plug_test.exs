defmodule Penstock.Integration.CowboyPlugTest do
  # Penstock.Plug on a real Cowboy.
  use Penstock.PoolCase, async: false

  alias Penstock.{CowboyPlug, Gate, HTTPClient, KeyedPool, RateLimiter, StructuredField}

  @moduletag :cowboy
  @compile {:no_warn_undefined, [:cowboy, :ranch, Plug.Conn]}

  defmodule App do
    def init(test), do: test

    # Tells the test that the request is being served, and waits for its word if the path says so.
    def call(%{request_path: "/wait"} = conn, test) do
      send(test, {:serving, self()})
      receive do: (:go_on -> Plug.Conn.send_resp(conn, 200, "waited"))
    end

    def call(%{request_path: "/chunked"} = conn, test) do
      conn = Plug.Conn.send_chunked(conn, 200)
      {:ok, conn} = Plug.Conn.chunk(conn, "a")
      send(test, {:serving, self()})
      receive do: (:go_on -> :ok)
      {:ok, conn} = Plug.Conn.chunk(conn, "b")
      conn
    end

    def call(%{request_path: "/raise"}, _test), do: raise("no")
    def call(conn, _test), do: Plug.Conn.send_resp(conn, 200, "hello")
  end

  defp start!(opts, protocol_opts \\ %{}) do
    {name, port} = CowboyPlug.start!(Penstock.Plug, Penstock.Plug.init([to: {App, self()}] ++ opts), protocol_opts)
    on_exit(fn -> :cowboy.stop_listener(name) end)
    port
  end

  # Returns the processes that serve the next `n` requests.
  defp serving(n) do
    for _ <- 1..n do
      assert_receive {:serving, pid}, 30_000
      pid
    end
  end

  defp status(socket, path \\ "/") do
    {:ok, {status, _headers, _body}} = HTTPClient.request(socket, path)
    status
  end

  test "holds 100 permits for 300 chunked responses at once, and none after them" do
    gate = start_gate(KeyedPool, limit: 100)
    port = start!(gate: gate)

    sockets = for _ <- 1..300, do: HTTPClient.connect!(port)
    for socket <- sockets, do: :ok = HTTPClient.ask(socket, "/chunked")
    serving = serving(100)

    client = Penstock.IP.key({127, 0, 0, 1})
    assert eventually(fn -> KeyedPool.info(gate).rejected == 200 end)
    assert KeyedPool.info(gate, client).in_use == 100
    refute_received {:serving, _pid}

    for pid <- serving, do: send(pid, :go_on)
    answers = for socket <- sockets, do: socket |> HTTPClient.answer() |> elem(1) |> then(&{elem(&1, 0), elem(&1, 2)})
    assert Enum.count(answers, &(&1 == {200, "ab"})) == 100
    assert Enum.count(answers, &match?({503, _problem}, &1)) == 200
    assert eventually(fn -> KeyedPool.info(gate).in_use == 0 end)
  end

  test "admits each request of a client that waits for its answer, at limit 1" do
    gate = start_gate(KeyedPool, limit: 1)
    socket = HTTPClient.connect!(start!(gate: gate))
    assert Enum.frequencies(for _ <- 1..500, do: status(socket)) == %{200 => 500}
  end

  test "serves one address although another one has all its permits" do
    gate = start_gate(KeyedPool, limit: 2)
    port = start!(gate: gate)

    for _ <- 1..2 do
      socket = HTTPClient.connect!(port)
      :ok = HTTPClient.ask(socket, "/wait")
      assert_receive {:serving, _pid}
    end

    assert status(HTTPClient.connect!(port)) == 503
    assert status(HTTPClient.connect!(port, {127, 0, 0, 2})) == 200
  end

  test "gives permits back if clients go away and if processes are killed" do
    gate = start_gate(KeyedPool, limit: 20)
    port = start!(gate: gate)

    pairs =
      for _ <- 1..20 do
        socket = HTTPClient.connect!(port)
        :ok = HTTPClient.ask(socket, "/wait")
        assert_receive {:serving, pid}
        {socket, pid}
      end

    assert KeyedPool.info(gate).in_use == 20
    {gone, killed} = Enum.split(pairs, 10)
    for {socket, _pid} <- gone, do: :gen_tcp.close(socket)
    for {_socket, pid} <- killed, do: Process.exit(pid, :kill)
    assert eventually(fn -> KeyedPool.info(gate).in_use == 0 end)
  end

  test "lets errors of the application pass, and takes its permit back" do
    gate = start_gate(KeyedPool, limit: 1)
    port = start!(gate: gate)
    assert status(HTTPClient.connect!(port), "/raise") == 500
    assert status(HTTPClient.connect!(port)) == 200
  end

  test "sends header fields by the draft's grammar" do
    limiter = start_gate(RateLimiter, limit: 3, per: 60_000)
    keyed = start_gate(KeyedPool, limit: 5)
    gate = start_gate(Gate, limits: [limiter, keyed])
    socket = HTTPClient.connect!(start!(gate: gate))

    answers = for _ <- 1..4, do: socket |> HTTPClient.request("/") |> elem(1)
    assert Enum.map(answers, &elem(&1, 0)) == [200, 200, 200, 429]
    name = inspect(limiter)

    for {{_status, headers, _body}, left} <- Enum.zip(answers, [2, 1, 0, 0]) do
      headers = Map.new(headers)
      assert StructuredField.parse!(headers["ratelimit-policy"]) == [{name, %{"q" => 3, "w" => 60}}]
      assert [{^name, %{"r" => ^left} = parameters}] = StructuredField.parse!(headers["ratelimit"])
      if left == 0, do: assert(parameters["t"] in 1..20)
    end

    {429, headers, body} = List.last(answers)
    headers = Map.new(headers)
    assert headers["content-type"] == "application/problem+json"
    assert String.to_integer(headers["retry-after"]) in 19..20
    assert body =~ "quota-exceeded"
  end

  test "serves many streams of one connection of HTTP/2 within the limit" do
    gate = start_gate(KeyedPool, limit: 10)
    port = start!([gate: gate], %{max_concurrent_streams: 1_000})
    url = "http://127.0.0.1:#{port}/wait"
    load = Task.async(fn -> System.cmd("h2load", ["-n", "300", "-c", "1", "-m", "300", url]) end)
    serving = serving(10)
    assert eventually(fn -> KeyedPool.info(gate).rejected == 290 end)
    for pid <- serving, do: send(pid, :go_on)
    {out, 0} = Task.await(load, 30_000)
    assert out =~ ~r/status codes: 10 2xx, 0 3xx, 0 4xx, 290 5xx/
    assert eventually(fn -> KeyedPool.info(gate).in_use == 0 end)
  end
end
