defmodule Penstock.Integration.CowboyFloodTest do
  # Floods of one address against a Cowboy that is guarded as guides/phoenix.md says, and a client of
  # another address that must be served. wrk and slowhttptest make the floods. PENSTOCK_FLOOD_SECONDS
  # is the length of each, by default 3.
  use Penstock.PoolCase, async: false

  alias Penstock.{CowboyPlug, HTTPClient, KeyedPool, RateLimiter}

  @moduletag :cowboy
  @moduletag timeout: 600_000
  @compile {:no_warn_undefined, [Bandit, ThousandIsland, :cowboy, :ranch, Plug.Conn]}

  @seconds "PENSTOCK_FLOOD_SECONDS" |> System.get_env("3") |> String.to_integer()

  # In a few seconds, any pause of the machine decides how many answers there are, and how late the
  # latest ones. So a short flood looks for lost permits, and for clients that are locked out.
  @long @seconds >= 30

  # The connections of a flood, and the limits of one address.
  @connections 2_000
  @most_connections 50
  @requests_per_second 100

  # Cowboy has a process for a connection, and one for the request that it carries. The attacker and
  # the two innocent clients have connections, and the test has some processes of its own.
  @most_processes 2 * (@most_connections + 2) + 20

  @attacker {127, 0, 0, 1}

  # Two innocent clients: one keeps its connection, the other connects for each request.
  @innocents keeps: {127, 0, 0, 2}, connects: {127, 0, 0, 3}

  # The ms of work of one request, and the pause of the innocent client between two of them.
  @work_ms 5
  @pause_ms 10

  # A refused client waits this long for its answer.
  @refuse_after_ms 200

  defmodule Listener do
    use Penstock.Listener, gate: Penstock.Integration.FloodConnections, refuse_after: 1_000
  end

  defmodule App do
    def init(work_ms), do: work_ms

    def call(conn, work_ms) do
      if conn.method == "POST", do: Plug.Conn.read_body(conn)
      receive do: (:never -> :ok), after: (work_ms -> :ok)
      Plug.Conn.send_resp(conn, 200, String.duplicate("hello ", 1_000))
    end
  end

  # Bandit is asked too where it is on the code path, as PENSTOCK_EBIN can put it.
  @servers if Code.ensure_loaded?(Bandit), do: [:cowboy, :bandit], else: [:cowboy]

  setup context do
    limits = [name: Penstock.Integration.FloodRequests, limit: @requests_per_second, per: 1_000]
    start_supervised!({RateLimiter, limits})
    start_supervised!({KeyedPool, name: Penstock.Integration.FloodConnections, limit: @most_connections})
    opts = [to: {App, @work_ms}, gate: Penstock.Integration.FloodRequests, refuse_after: @refuse_after_ms]
    start(context.server, opts)
  end

  # Returns the port of the server, and a function that returns the processes of its connections.
  defp start(:cowboy, opts) do
    {:ok, _apps} = Application.ensure_all_started(:cowboy)
    name = make_ref()
    protocol = CowboyPlug.protocol(Penstock.Plug, Penstock.Plug.init(opts))
    spec = :ranch.child_spec(name, :ranch_tcp, CowboyPlug.transport(), :cowboy_clear, protocol)
    start_supervised!(Supervisor.child_spec(Listener.ranch(spec), id: :listener))
    %{port: :ranch.get_port(name), connections: fn -> :ranch.procs(name, :connections) end}
  end

  defp start(:bandit, opts) do
    {:ok, _apps} = Application.ensure_all_started(:bandit)
    island = [num_acceptors: 10, num_connections: 1_000, max_connections_retry_count: 0]
    bandit = [plug: {Penstock.Plug, opts}, port: 0, startup_log: false, thousand_island_options: island]
    pid = start_supervised!({Bandit, Listener.bandit(bandit)})
    {:ok, {_ip, port}} = ThousandIsland.listener_info(pid)

    connections = fn ->
      {:ok, pids} = ThousandIsland.connection_pids(pid)
      pids
    end

    %{port: port, connections: connections}
  end

  # Lets the innocent clients ask again and again for some seconds, each as a client that reads a
  # page now and then.
  defp innocents(port, seconds) do
    until = System.monotonic_time(:millisecond) + 1_000 * seconds
    asked = for {how, from} <- @innocents, do: {how, Task.async(fn -> ask(nil, {how, from, port}, until, []) end)}
    for {how, task} <- asked, do: {how, Task.await(task, :infinity)}
  end

  # Returns the number of requests and of answers, and the quantiles of their times in ms.
  defp ask(socket, client, until, times) do
    if System.monotonic_time(:millisecond) < until do
      {us, {socket, answer}} = :timer.tc(fn -> ask_once(socket, client) end)
      receive do: (:never -> :ok), after: (@pause_ms -> :ok)
      ask(socket, client, until, [{answer, us / 1_000} | times])
    else
      answered = Enum.sort(for {:ok, ms} <- times, do: ms)
      at = fn share -> Enum.at(answered, trunc(share * length(answered)), :none) end
      %{asked: length(times), answered: length(answered), median: at.(0.5), p99: at.(0.99)}
    end
  end

  defp ask_once(nil, {_how, from, port} = client) do
    case HTTPClient.connect(port, from) do
      {:ok, socket} -> ask_once(socket, client)
      {:error, reason} -> {nil, reason}
    end
  end

  defp ask_once(socket, {how, _from, _port}) do
    case HTTPClient.request(socket, "/") do
      {:ok, {200, _headers, _body}} when how == :keeps ->
        {socket, :ok}

      {:ok, {200, _headers, _body}} ->
        :gen_tcp.close(socket)
        {nil, :ok}

      other ->
        :gen_tcp.close(socket)
        {nil, other}
    end
  end

  # Runs a program that floods the server, and the innocent clients next to it.
  defp flood(%{port: port}, command, more \\ fn -> :ok end) do
    before = :erlang.system_info(:process_count)
    test = self()

    watch = spawn_link(fn -> watch(test, %{processes: 0, connections: 0}) end)
    load = Task.async(fn -> System.cmd("sh", ["-c", "ulimit -n 8192; exec " <> command], stderr_to_stdout: true) end)
    # The flood has begun once its connections fill the limit.
    assert eventually(fn -> in_use() == @most_connections end)
    other = Task.async(more)
    innocents = innocents(port, @seconds)
    Task.shutdown(other, :brutal_kill)
    {out, status} = Task.await(load, :infinity)
    send(watch, :stop)
    assert_receive {:peak, peak}

    report(%{command: command, innocents: innocents, processes: peak.processes - before, connections: peak.connections})
    assert status == 0, out

    # All connections are closed, so no permit is left, at the latest a second later.
    ended = System.monotonic_time(:millisecond)
    assert eventually(fn -> KeyedPool.info(Penstock.Integration.FloodConnections).in_use == 0 end)
    if @long, do: assert(System.monotonic_time(:millisecond) - ended < 1_000)
    assert peak.connections <= @most_connections
    assert peak.processes - before <= @most_processes
    innocents
  end

  # Prints the figures of a run by hand.
  defp report(figures) do
    if System.get_env("PENSTOCK_FLOOD_SECONDS"), do: IO.inspect(figures, pretty: true, width: 120)
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

  defp wrk(port), do: "wrk -t1 -c#{@connections} -d#{@seconds + 1}s http://127.0.0.1:#{port}/"

  defp kill_forever(connections) do
    case connections.() do
      [] -> :ok
      pids -> pids |> Enum.random() |> Process.exit(:kill)
    end

    receive do: (:never -> :ok), after: (1 -> :ok)
    kill_forever(connections)
  end

  for server <- @servers do
    describe "on #{server}:" do
      @describetag server: server

      test "a flood of requests leaves other addresses their answers", context do
        first = innocents(context.port, @seconds)
        flooded = flood(context, wrk(context.port))
        second = innocents(context.port, @seconds)
        report(%{alone: [first, second]})

        for {how, of} <- flooded do
          # The machine has other work now and then, so the clients are measured alone before and after.
          alone = [first[how], second[how]]
          share = of.answered / Enum.min(Enum.map(alone, & &1.answered))
          assert share >= if(@long, do: 0.9, else: 0.5), "#{how}: #{share}"
          if @long, do: assert(of.p99 <= 3 * Enum.max(Enum.map(alone, & &1.p99)), "#{how}")
        end
      end

      test "a flood of requests leaves no permit if connections are killed at random", context do
        flooded = flood(context, wrk(context.port), fn -> kill_forever(context.connections) end)
        for {how, of} <- flooded, do: assert(of.answered > 0, "#{how}")
      end

      for {flag, attack} <- [{"-H", "headers"}, {"-B", "bodies"}, {"-X", "readers"}] do
        test "slow #{attack} leave another address its answers", context do
          url = "http://127.0.0.1:#{context.port}/"
          rate = "-c #{@connections} -r #{@connections} -i 2 -l #{@seconds + 1} -p 2 -u #{url}"

          for {how, of} <- flood(context, "slowhttptest #{unquote(flag)} #{rate}") do
            assert of.answered >= 0.99 * of.asked, "#{how}"
          end
        end
      end
    end
  end
end
