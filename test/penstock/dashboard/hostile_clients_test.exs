defmodule Penstock.Dashboard.HostileClientsTest do
  # Not async: the tests compare figures of the whole VM.
  use Penstock.DashboardCase, async: false

  import ExUnit.CaptureLog

  @requests 10_000
  @clients 8
  @warm_up 2_000

  # The figures may differ by this much for reasons other than the requests. A module that is
  # loaded late brings some hundred atoms; the requests have about a hundred thousand different
  # words.
  @slack %{processes: 3, ports: 2, atoms: 1_000, bytes: 4_000_000}

  @fast [idle_ms: 100, head_ms: 150, send_ms: 150, linger_ms: 50]

  describe "garbage" do
    test "leaves no trace" do
      {dashboard, port} = start_dashboard(bounds: [linger_ms: 50])
      %{connections: connections, requests: requests} = context(dashboard)

      log =
        capture_log(fn ->
          throw_garbage(port, @warm_up)
          before = figures(dashboard)
          throw_garbage(port, @requests)
          assert {200, _} = get_json!(port, "/state")
          assert eventually(fn -> counts(connections) == {0, 0, 0} and counts(requests) == {0, 0, 0} end)
          eventually(fn -> figures(dashboard).processes <= before.processes + @slack.processes end)
          later = figures(dashboard)

          for {figure, slack} <- @slack do
            assert later[figure] - before[figure] <= slack, "#{figure}: #{before[figure]}, then #{later[figure]}"
          end
        end)

      refute log =~ ~r/\[(error|warning|warn)\]/
      assert Process.alive?(dashboard)
    end

    test "gets an answer that says what is wrong, and ends its own connection only" do
      {_pid, port} = start_dashboard()
      long = String.duplicate("a", 10_000)
      # The VM closes the connection at a line that is too long.
      too_long = String.duplicate("a", 20_000)

      for {bytes, expected} <- [
            {"\r\n\r\n", 400},
            {"GET\r\n\r\n", 400},
            {"GET / HTTP/2.0\r\n\r\n", 505},
            {"GET /\r\n\r\n", 505},
            {"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n", 400},
            {"GET state HTTP/1.1\r\nhost: localhost\r\n\r\n", 400},
            {"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 400},
            {"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400},
            {"GET /x HTTP/1.1\r\nhost: localhost\r\n#{String.duplicate("x: y\r\n", 100)}\r\n", 431},
            {"GET /x HTTP/1.1\r\nhost: localhost\r\n#{String.duplicate("x: #{long}\r\n", 5)}\r\n", 431},
            {"GET /#{too_long} HTTP/1.1\r\nhost: localhost\r\n\r\n", nil},
            {"GET /x HTTP/1.1\r\nhost: localhost\r\nx: #{too_long}\r\n\r\n", nil},
            {"GET /x HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n", 404},
            {"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", 405},
            {"GET /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nContent-Length: 5\r\n\r\nGET /", 400},
            {"GET /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nGET /", 400},
            {"POST /x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 405}
          ] do
        assert {bytes, status(send_raw(port, bytes))} == {bytes, expected}
      end
    end

    test "of 10 MB in a body is not read" do
      {dashboard, port} = start_dashboard()
      piece = :binary.copy("x", 100_000)

      for headers <- ["content-length: 10000000", "transfer-encoding: chunked"] do
        socket = HTTPClient.connect!(port)
        :ok = :gen_tcp.send(socket, "POST /state HTTP/1.1\r\nhost: localhost\r\n#{headers}\r\n\r\n")
        # The dashboard closes the connection long before all is sent.
        assert Enum.any?(1..100, fn _ -> :gen_tcp.send(socket, piece) != :ok end)
      end

      assert eventually(fn -> counts(context(dashboard).connections) == {0, 0, 0} end)
    end

    test "in a request that follows in the same packet is not taken for a request after a body" do
      {_pid, port} = start_dashboard()

      post = "POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n"
      smuggled = post <> "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"

      answer = send_raw(port, smuggled)
      assert status(answer) == 405
      assert length(String.split(answer, "HTTP/1.1 ")) == 2
    end
  end

  test "requests that follow each other at once get answers in their order" do
    {_pid, port} = start_dashboard()
    asks = for path <- ["/a", "/holder?pid=<0.1.0>", "/b"], do: "GET #{path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
    socket = HTTPClient.connect!(port)
    :ok = :gen_tcp.send(socket, asks)
    assert for(_ <- 1..3, do: HTTPClient.answer(socket) |> elem(1) |> elem(0)) == [404, 200, 404]
  end

  test "a connection ends after its requests, and says so before" do
    {_pid, port} = start_dashboard(bounds: [turns: 3])
    socket = HTTPClient.connect!(port)
    answers = for _ <- 1..3, do: HTTPClient.request(socket, "/health")
    close? = for {:ok, {_status, headers, _body}} <- answers, do: {"connection", "close"} in headers
    assert close? == [false, false, true]
    assert receive_all(socket) == ""
  end

  test "a connection ends at its age, in order, and says so before" do
    keep_ms = 200
    {dashboard, port} = start_dashboard(bounds: [keep_ms: keep_ms, turns: 1_000_000])
    started = System.monotonic_time(:millisecond)
    socket = HTTPClient.connect!(port)
    [connection] = eventually(fn -> with [] <- Task.Supervisor.children(child(dashboard, :connections)), do: nil end)
    ref = Process.monitor(connection)
    assert ask_until_close(socket) == :close
    assert System.monotonic_time(:millisecond) - started >= keep_ms
    assert receive_all(socket) == ""
    assert await_down(ref) in [:normal, :noproc]
  end

  defp ask_until_close(socket) do
    {:ok, {200, headers, _body}} = HTTPClient.request(socket, "/holder?pid=<0.1.0>")
    if {"connection", "close"} in headers, do: :close, else: ask_until_close(socket)
  end

  describe "a slow client" do
    setup do
      {dashboard, port} = start_dashboard(bounds: @fast)
      %{port: port, pool: context(dashboard).connections}
    end

    test "that sends nothing is cut off", %{port: port, pool: pool} do
      sockets = for _ <- 1..20, do: HTTPClient.connect!(port)
      for socket <- sockets, do: assert(receive_all(socket) == "")
      assert eventually(fn -> counts(pool) == {0, 0, 0} end)
      assert Pool.info(pool).acquired == 20
    end

    test "that sends its headers byte by byte is cut off", %{port: port, pool: pool} do
      socket = HTTPClient.connect!(port)
      :ok = :gen_tcp.send(socket, "GET / HTTP/1.1\r\n")
      started = System.monotonic_time(:millisecond)
      dribble(socket)
      # The time is for all headers together.
      assert System.monotonic_time(:millisecond) - started < Penstock.PoolCase.patience(5_000)
      assert eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    test "that sends its first line byte by byte is cut off", %{port: port, pool: pool} do
      dribble(HTTPClient.connect!(port))
      assert eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    test "that stops between two requests is cut off", %{port: port, pool: pool} do
      # On a busy machine, the client itself may be late.
      socket =
        eventually(fn ->
          socket = HTTPClient.connect!(port)
          if match?({:ok, _answer}, HTTPClient.request(socket, "/health")), do: socket
        end)

      assert receive_all(socket) == ""
      assert eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    test "that closes its side only gets its answer, and is let go" do
      {dashboard, port} = start_dashboard()
      pool = context(dashboard).connections
      socket = HTTPClient.connect!(port)
      :ok = HTTPClient.ask(socket, "/nothing")
      :ok = :gen_tcp.shutdown(socket, :write)
      assert status(receive_all(socket)) == 404
      assert eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    # Far more is asked for than the buffers of both sides take.
    test "that does not read is cut off" do
      {dashboard, port} = start_dashboard(bounds: [send_ms: 150, linger_ms: 50])
      pool = context(dashboard).connections
      for _ <- 1..20, do: start_pool(limit: 1)
      eventually(fn -> byte_size(elem(HTTPClient.request!(port, "/state"), 2)) > 8_000 end)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
      before = Pool.info(pool).acquired

      {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, recbuf: 4_096])
      :ok = :gen_tcp.send(socket, List.duplicate("GET /state HTTP/1.1\r\nhost: localhost\r\n\r\n", 90))
      assert eventually(fn -> Pool.info(pool).acquired == before + 1 and counts(pool) == {0, 0, 0} end)
      # Some of the answers never came.
      assert length(String.split(receive_all(socket), "HTTP/1.1 200 OK")) < 91
    end

    test "that closes at each byte of its request leaves nothing", %{port: port, pool: pool} do
      request = "GET /state HTTP/1.1\r\nhost: localhost\r\ncookie: a=b\r\n\r\n"

      for size <- 0..byte_size(request) do
        socket = HTTPClient.connect!(port)
        :ok = :gen_tcp.send(socket, binary_part(request, 0, size))
        # Every other client resets the connection.
        if rem(size, 2) == 0, do: :inet.setopts(socket, linger: {true, 0})
        :gen_tcp.close(socket)
      end

      assert eventually(fn -> counts(pool) == {0, 0, 0} end)
    end
  end

  describe "too many connections" do
    test "are refused without a process" do
      {dashboard, port} = start_dashboard(bounds: [connections: 4, idle_ms: 60_000])
      pool = context(dashboard).connections
      open = for _ <- 1..4, do: HTTPClient.connect!(port)
      eventually(fn -> Pool.info(pool).in_use == 4 end)

      for _ <- 1..50 do
        socket = HTTPClient.connect!(port)
        answer = receive_all(socket)
        assert answer =~ "HTTP/1.1 503 Service Unavailable"
        assert answer =~ "retry-after: 1"
        assert answer =~ "the dashboard is busy"
      end

      assert Pool.info(pool).peak == 4
      Enum.each(open, &:gen_tcp.close/1)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
      assert {200, _} = get_json!(port, "/state")
    end

    test "that last too long are killed" do
      {dashboard, port} = start_dashboard(bounds: [connection_ms: 200, idle_ms: 60_000])
      socket = HTTPClient.connect!(port)
      assert receive_all(socket) == ""
      assert eventually(fn -> counts(context(dashboard).connections) == {0, 0, 0} end)
    end
  end

  defp dribble(socket) do
    receive after: (10 -> :ok)

    case :gen_tcp.send(socket, "x") do
      :ok -> dribble(socket)
      {:error, reason} when reason in [:closed, :econnreset, :epipe] -> :ok
    end
  end

  defp throw_garbage(port, requests) do
    seed = {ExUnit.configuration()[:seed], requests, 0}
    each = div(requests, @clients)

    1..@clients
    |> Enum.map(fn client ->
      Task.async(fn ->
        :rand.seed(:exsss, put_elem(seed, 2, client))
        for _ <- 1..each, do: throw_one(port, Enum.random(1..12))
      end)
    end)
    |> Task.await_many(:infinity)
  end

  defp throw_one(port, kind) do
    socket = HTTPClient.connect!(port)
    _ = :gen_tcp.send(socket, garbage(kind))
    # Some wait for the answer, others leave at once.
    if :rand.uniform(2) == 1 do
      :gen_tcp.shutdown(socket, :write)
      receive_all(socket)
    end

    :gen_tcp.close(socket)
  end

  defp garbage(1), do: bytes(300)
  defp garbage(2), do: [word(), " /", word(), " HTTP/1.1\r\nhost: localhost\r\n\r\n"]
  defp garbage(3), do: ["GET /", bytes(200), " HTTP/1.1\r\nhost: localhost\r\n\r\n"]
  defp garbage(4), do: ["GET /state HTTP/1.1\r\n", for(_ <- 1..20, do: [word(), ": ", word(), "\r\n"]), "\r\n"]
  defp garbage(5), do: ["GET /state HTTP/1.1\r\nhost: localhost\r\n", bytes(2_000), "\r\n\r\n"]

  defp garbage(6),
    do: ["POST /", word(), " HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n", bytes(20_000)]

  defp garbage(7), do: ["GET /holder?pid=", bytes(30), " HTTP/1.1\r\nhost: localhost\r\n\r\n"]

  defp garbage(8),
    do: ["GET /state?since=", word(), "&", word(), "=", bytes(20), " HTTP/1.1\r\nhost: localhost\r\n\r\n"]

  defp garbage(9), do: ["GET /assets/", word(), "/../", word(), ".js HTTP/1.1\r\nhost: ", word(), "\r\n\r\n"]
  defp garbage(10), do: <<22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, bytes(200)::binary>>
  defp garbage(11), do: ["GET /health HTTP/1.1\r\nhost: localhost\r\nx: ", :binary.copy("y", 20_000), "\r\n\r\n"]
  defp garbage(12), do: ["GET /state HTTP/", word(), "\r\n", word(), ":\r\n\r\n"]

  defp bytes(size), do: :rand.bytes(:rand.uniform(size))
  defp word, do: for(_ <- 1..:rand.uniform(20), into: "", do: <<Enum.random(?A..?z)>>)

  defp figures(dashboard) do
    below = for {_id, pid, _type, _modules} <- Supervisor.which_children(dashboard), do: pid
    Enum.each([self(), dashboard | below], &:erlang.garbage_collect/1)
    context = context(dashboard)

    %{
      processes: :erlang.system_info(:process_count),
      ports: length(Port.list()),
      atoms: :erlang.system_info(:atom_count),
      bytes: :erlang.memory(:processes_used) + :erlang.memory(:binary) + :ets.info(context.table, :memory) * 8
    }
  end
end
