defmodule Penstock.Dashboard.KillTest do
  # Not async: a port that was just freed must stay free, and clients of other tests take ports.
  use Penstock.DashboardCase, async: false

  alias Penstock.Dashboard.{Acceptor, History}
  alias Penstock.View.Snapshot

  # Returns the state once the dashboard answers again.
  defp state_again(port) do
    eventually(fn ->
      with {:ok, socket} <- HTTPClient.connect(port),
           {:ok, {200, _headers, body}} <- HTTPClient.request(socket, "/state") do
        :gen_tcp.close(socket)
        Penstock.JSONReader.decode!(body)
      else
        _not_yet -> nil
      end
    end)
  end

  for id <- [:history, :connections, :acceptor] do
    test "a killed #{id} starts again, at the same port, with the curves" do
      id = Map.fetch!(%{history: History, connections: :connections, acceptor: Acceptor}, unquote(id))
      {dashboard, port} = start_dashboard()
      {200, before} = get_json!(port, "/state")

      for _ <- 1..5 do
        killed = child(dashboard, id)
        kill(killed)
        later = state_again(port)
        assert Enum.take(later["history"]["t"], 1) == Enum.take(before["history"]["t"], 1)
        eventually(fn -> child(dashboard, id) not in [killed, :restarting, :undefined] end)
      end

      assert Process.alive?(dashboard)
      assert Dashboard.port(dashboard) == port
    end
  end

  test "all of them killed at once start again" do
    {dashboard, port} = start_dashboard()

    for _ <- 1..10 do
      for {_id, pid, _type, _modules} <- Supervisor.which_children(dashboard), is_pid(pid), do: Process.exit(pid, :kill)
    end

    assert %{"history" => %{"t" => [_ | _]}} = state_again(port)
    assert Process.alive?(dashboard)
  end

  test "a killed connection gives its permits back, and ends no other" do
    {dashboard, port} = start_dashboard(bounds: [idle_ms: 60_000])
    %{connections: pool} = context(dashboard)
    other = HTTPClient.connect!(port)
    assert {:ok, {_status, _, _}} = HTTPClient.request(other, "/health")
    connections = child(dashboard, :connections)
    [first] = Task.Supervisor.children(connections)
    socket = HTTPClient.connect!(port)
    assert {:ok, {_status, _, _}} = HTTPClient.request(socket, "/health")
    [killed] = Task.Supervisor.children(connections) -- [first]
    kill(killed)
    assert receive_all(socket) == ""
    assert {:ok, {_status, _, _}} = HTTPClient.request(other, "/health")
    assert eventually(fn -> Pool.info(pool).in_use == 1 end)
  end

  test "connections end with the dashboard" do
    {dashboard, port} = start_dashboard(bounds: [idle_ms: 60_000])
    pool = context(dashboard).connections
    socket = HTTPClient.connect!(port)
    assert {:ok, _answer} = HTTPClient.request(socket, "/health")
    Supervisor.stop(dashboard, :shutdown)
    assert receive_all(socket) == ""
    assert eventually(fn -> counts(pool) == {0, 0, 0} end)
  end

  test "a dashboard whose port was taken meanwhile waits for it" do
    {dashboard, port} = start_dashboard(bounds: [retry_ms: 10])
    acceptor = child(dashboard, Acceptor)
    # The supervisor cannot start the next acceptor before the port is taken.
    :ok = :sys.suspend(dashboard)
    kill(acceptor)
    other = eventually(fn -> listen(port) end)
    :ok = :sys.resume(dashboard)
    assert child(dashboard, Acceptor) not in [acceptor, :restarting, :undefined]
    assert Process.alive?(dashboard)
    :gen_tcp.close(other)
    assert %{"at" => _} = state_again(port)
  end

  test "a snapshot that fails ends nothing, and the last one is shown" do
    test = self()
    fails = :atomics.new(1, [])

    take = fn ->
      if :atomics.get(fails, 1) == 1 do
        send(test, :failed)
        raise "no snapshot"
      else
        Snapshot.take()
      end
    end

    {dashboard, port} = start_dashboard(take: take)
    history = child(dashboard, History)
    :atomics.put(fails, 1, 1)
    assert_receive :failed
    {200, %{"at" => last}} = get_json!(port, "/state")
    assert_receive :failed
    assert {200, %{"at" => ^last}} = get_json!(port, "/state")
    :atomics.put(fails, 1, 0)
    assert eventually(fn -> match?({200, %{"at" => later}} when later > last, get_json!(port, "/state")) end)
    assert child(dashboard, History) == history
  end

  test "a dashboard whose first snapshots fail says so" do
    fails = :atomics.new(1, [])
    :atomics.put(fails, 1, 1)
    take = fn -> if :atomics.get(fails, 1) == 1, do: exit(:no_snapshot), else: Snapshot.take() end
    {_dashboard, port} = start_dashboard(take: take)
    assert get_json!(port, "/state") == {503, %{"error" => "there is no snapshot yet"}}
    assert {404, _} = get_json!(port, "/nothing")
    :atomics.put(fails, 1, 0)
    assert eventually(fn -> match?({200, _}, get_json!(port, "/state")) end)
  end

  # Returns a socket that listens at the port, once it is free.
  defp listen(port) do
    case :gen_tcp.listen(port, ip: {127, 0, 0, 1}, reuseaddr: true) do
      {:ok, socket} -> socket
      {:error, :eaddrinuse} -> nil
    end
  end
end
