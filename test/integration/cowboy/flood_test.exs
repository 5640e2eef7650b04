defmodule Penstock.Integration.CowboyFloodTest do
  # Floods of one address against a Cowboy that is guarded as guides/phoenix.md says, and a client of
  # another address that must be served. wrk and slowhttptest make the floods. PENSTOCK_FLOOD_SECONDS
  # is the length of each, by default 3.
  use Penstock.PoolCase, async: false

  alias Penstock.{CowboyPlug, HTTPClient, KeyedPool, RateLimiter}

  @moduletag :cowboy
  @moduletag timeout: 600_000
  @compile {:no_warn_undefined, [:cowboy, :ranch, Plug.Conn]}

  @seconds "PENSTOCK_FLOOD_SECONDS" |> System.get_env("3") |> String.to_integer()

  # The connections of a flood, and the limits of one address.
  @connections 2_000
  @most_connections 50
  @requests_per_second 100

  # Cowboy has a process for a connection, and one for the request that it carries.
  @processes_per_connection 2

  @attacker {127, 0, 0, 1}
  @innocent {127, 0, 0, 2}

  # The ms of work of one request, and the pause of the innocent client between two of them.
  @work_ms 5
  @pause_ms 10

  # A refused client waits this long before it can ask again.
  @refuse_after 200

  defmodule Listener do
    use Penstock.Listener, gate: Penstock.Integration.FloodConnections
  end

  defmodule App do
    def init(work_ms), do: work_ms

    def call(conn, work_ms) do
      if conn.method == "POST", do: Plug.Conn.read_body(conn)
      receive do: (:never -> :ok), after: (work_ms -> :ok)
      Plug.Conn.send_resp(conn, 200, String.duplicate("hello ", 1_000))
    end
  end

  setup do
    {:ok, _apps} = Application.ensure_all_started(:cowboy)
    limits = [name: Penstock.Integration.FloodRequests, limit: @requests_per_second, per: 1_000]
    start_supervised!({RateLimiter, limits})
    start_supervised!({KeyedPool, name: Penstock.Integration.FloodConnections, limit: @most_connections})

    opts =
      Penstock.Plug.init(
        to: {App, @work_ms},
        gate: Penstock.Integration.FloodRequests,
        refuse_after: @refuse_after
      )

    name = make_ref()
    protocol = CowboyPlug.protocol(Penstock.Plug, opts)
    spec = :ranch.child_spec(name, :ranch_tcp, CowboyPlug.transport(), :cowboy_clear, protocol)
    start_supervised!(Supervisor.child_spec(Listener.ranch(spec), id: :listener))
    %{name: name, port: :ranch.get_port(name)}
  end

  # Asks again and again, as a client that reads a page now and then. Returns the number of requests,
  # the number of answers, and the 99th percentile of their times in ms.
  defp innocent(port, seconds) do
    ask(nil, port, System.monotonic_time(:millisecond) + 1_000 * seconds, [])
  end

  defp ask(socket, port, until, times) do
    if System.monotonic_time(:millisecond) < until do
      {us, {socket, answer}} = :timer.tc(fn -> ask_once(socket, port) end)
      receive do: (:never -> :ok), after: (@pause_ms -> :ok)
      ask(socket, port, until, [{answer, us / 1_000} | times])
    else
      answered = Enum.sort(for {:ok, ms} <- times, do: ms)
      %{asked: length(times), answered: length(answered), p99: Enum.at(answered, trunc(0.99 * length(answered)), 0)}
    end
  end

  # Keeps its connection; connects again if the server has closed it.
  defp ask_once(nil, port) do
    case HTTPClient.connect(port, @innocent) do
      {:ok, socket} -> ask_once(socket, port)
      {:error, reason} -> {nil, reason}
    end
  end

  defp ask_once(socket, _port) do
    case HTTPClient.request(socket, "/") do
      {:ok, {200, _headers, _body}} ->
        {socket, :ok}

      other ->
        :gen_tcp.close(socket)
        {nil, other}
    end
  end

  # Runs a program that floods the server, and the innocent client next to it.
  defp flood(%{port: port}, command, more \\ fn -> :ok end) do
    alone = innocent(port, @seconds)
    before = :erlang.system_info(:process_count)
    test = self()

    watch = spawn_link(fn -> watch(test, %{processes: 0, connections: 0}) end)
    load = Task.async(fn -> System.cmd("sh", ["-c", "ulimit -n 8192; exec " <> command], stderr_to_stdout: true) end)
    # The flood has begun once its connections fill the limit.
    assert eventually(fn -> in_use() == @most_connections end)
    other = Task.async(more)
    flooded = innocent(port, @seconds)
    Task.shutdown(other, :brutal_kill)
    {out, status} = Task.await(load, :infinity)
    send(watch, :stop)
    assert_receive {:peak, peak}

    figures = %{alone: alone, flooded: flooded, processes: peak.processes - before, connections: peak.connections}
    if System.get_env("PENSTOCK_FLOOD_SECONDS"), do: IO.puts("\n#{command}\n#{inspect(figures, pretty: true)}\n#{out}")
    assert status == 0, out

    # The connections of the flood are gone, and the innocent client has closed its own or may hold one.
    assert eventually(fn -> in_use() == 0 end)
    assert peak.connections <= @most_connections
    figures
  end

  defp in_use, do: KeyedPool.info(Penstock.Integration.FloodConnections, Penstock.IP.key(@attacker)).in_use

  defp watch(test, peak) do
    receive do
      :stop -> send(test, {:peak, peak})
    after
      5 ->
        watch(test, %{
          processes: max(peak.processes, :erlang.system_info(:process_count)),
          connections: max(peak.connections, in_use())
        })
    end
  end

  # The processes of the attacker's connections and of the innocent client's, and those of the test.
  @most_processes @processes_per_connection * (@most_connections + 1) + 20

  test "a flood of requests leaves another address its answers", context do
    figures = flood(context, "wrk -t1 -c#{@connections} -d#{@seconds + 1}s http://127.0.0.1:#{context.port}/")
    assert figures.processes <= @most_processes
    assert figures.flooded.answered >= 0.9 * figures.alone.answered
    assert figures.flooded.p99 <= 3 * figures.alone.p99
  end

  test "a flood of requests leaves no permit if connections are killed at random", context do
    kill = fn -> kill_forever(context.name) end
    figures = flood(context, "wrk -t1 -c#{@connections} -d#{@seconds + 1}s http://127.0.0.1:#{context.port}/", kill)
    assert figures.processes <= @most_processes
    assert figures.flooded.answered > 0
  end

  defp kill_forever(name) do
    case :ranch.procs(name, :connections) do
      [] -> :ok
      connections -> connections |> Enum.random() |> Process.exit(:kill)
    end

    receive do: (:never -> :ok), after: (1 -> :ok)
    kill_forever(name)
  end

  for {flag, attack} <- [{"-H", "headers"}, {"-B", "bodies"}, {"-X", "readers"}] do
    test "slow #{attack} leave another address its answers", context do
      url = "http://127.0.0.1:#{context.port}/"
      rate = "-c #{@connections} -r #{@connections} -i 2 -l #{@seconds + 1} -p 2 -u #{url}"
      figures = flood(context, "slowhttptest #{unquote(flag)} #{rate}")
      assert figures.processes <= @most_processes
      assert figures.flooded.answered >= 0.99 * figures.flooded.asked
    end
  end
end
