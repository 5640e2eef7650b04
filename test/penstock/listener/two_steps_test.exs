defmodule Penstock.Listener.TwoStepsTest do
  # Plays the acceptor and the supervisor of ranch, so that each can die at each step.
  use Penstock.PoolCase, async: true

  import Penstock.Connections

  alias Penstock.Edge.Table
  alias Penstock.Listener.TwoSteps

  @limit 10

  setup do
    pool = start_pool(limit: @limit)
    name = unique_name()
    Module.create(name, quote(do: use(Penstock.Listener, gate: unquote(pool))), Macro.Env.location(__ENV__))
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, active: false, backlog: 1_024)
    {:ok, port} = :inet.port(socket)
    {:ok, pool: pool, transport: Module.concat(name, Ranch), socket: socket, port: port}
  end

  # Returns an actor that looks like a supervisor of ranch.
  defp supervisor do
    actor = actor()
    tell(actor, fn -> Process.put(:"$initial_call", {:ranch_conns_sup, :init, 7}) end)
    actor
  end

  # Accepts a connection in the acceptor. Returns its socket, and that of the client.
  defp accept(%{transport: transport, socket: socket, port: port}, acceptor) do
    accepting = ask(acceptor, fn -> transport.accept(socket, 10_000) end)
    client = connect!(port)
    {:ok, connection} = answer(accepting)
    {connection, client}
  end

  # Gives the socket away in the process `from`.
  defp give(%{transport: transport}, from, connection, to),
    do: tell(from, fn -> transport.controlling_process(connection, to) end)

  defp close(%{transport: transport}, process, connection), do: tell(process, fn -> transport.close(connection) end)

  defp row?(connection), do: :ets.member(Table, {TwoSteps, connection})

  test "the process of the connection holds the permit until it is dead", %{pool: pool} = context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, client} = accept(context, acceptor)
    assert counts(pool) == {1, 1, 0}
    assert give(context, acceptor, connection, supervisor) == :ok
    assert row?(connection)
    assert give(context, supervisor, connection, serving) == :ok
    refute row?(connection)
    assert [%{pid: ^serving, permits: 1}] = Pool.holders(pool)

    kill(acceptor)
    kill(supervisor)
    assert [%{pid: ^serving, permits: 1}] = Pool.holders(pool)
    refute ended?(client)
    kill(serving)
    assert ended(client) == :closed
    assert all_back(pool, @limit) == {0, 0, 0}
  end

  test "an acceptor that dies before the first step takes its permit along", %{pool: pool} = context do
    acceptor = actor()
    {_connection, client} = accept(context, acceptor)
    kill(acceptor)
    assert ended(client) == :closed
    assert all_back(pool, @limit) == {0, 0, 0}
  end

  test "the supervisor of an acceptor that died gets an error", %{pool: pool} = context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    kill(acceptor)
    assert all_back(pool, @limit) == {0, 0, 0}

    assert give(context, supervisor, connection, serving) == {:error, :closed}
    assert close(context, supervisor, connection) == :ok
    assert ended(client) == :closed
    refute row?(connection)
    assert counts(pool) == {0, 0, 0}
  end

  test "the row of a dead acceptor is removed, and its socket is closed, when another one starts",
       %{pool: pool} = context do
    {acceptor, supervisor} = {actor(), supervisor()}
    {connection, client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    kill(acceptor)
    assert row?(connection)

    {_connection, _client} = accept(context, actor())
    assert ended(client) == :closed
    refute row?(connection)
    assert give(context, supervisor, connection, actor()) == {:error, :closed}
    assert eventually(fn -> counts(pool) == {1, 1, 0} end)
  end

  test "a row of a live acceptor stays when another one starts", context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    accept(context, actor())
    assert give(context, supervisor, connection, serving) == :ok
    refute ended?(client)
  end

  test "a supervisor that has no process for a connection frees its permit by close/1", %{pool: pool} = context do
    {acceptor, supervisor} = {actor(), supervisor()}
    {connection, client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    assert close(context, supervisor, connection) == :ok
    assert ended(client) == :closed
    refute row?(connection)
    assert counts(pool) == {0, 0, 0}
  end

  test "an acceptor that cannot give its socket away frees its permit by close/1", %{pool: pool} = context do
    {acceptor, dead} = {actor(), actor()}
    kill(dead)
    {connection, client} = accept(context, acceptor)
    assert {:error, _reason} = give(context, acceptor, connection, dead)
    assert close(context, acceptor, connection) == :ok
    assert ended(client) == :closed
    refute row?(connection)
    assert counts(pool) == {0, 0, 0}
  end

  test "an acceptor that closes its connection at once frees its permit", %{pool: pool} = context do
    acceptor = actor()
    {connection, client} = accept(context, acceptor)
    assert close(context, acceptor, connection) == :ok
    assert ended(client) == :closed
    assert counts(pool) == {0, 0, 0}
  end

  # Another acceptor has taken the row, and is about to close the socket.
  test "a supervisor without a row does not let a connection be served", context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    :ets.delete(Table, {TwoSteps, connection})
    assert give(context, supervisor, connection, serving) == {:error, :closed}
    assert close(context, supervisor, connection) == :ok
    assert ended(client) == :closed
  end

  test "a process that died before it gets the connection holds nothing", %{pool: pool} = context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, _client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    kill(serving)
    assert {:error, _reason} = give(context, supervisor, connection, serving)
    assert close(context, supervisor, connection) == :ok
    assert all_back(pool, @limit) == {0, 0, 0}
  end

  # ranch answers the acceptor before it closes a connection for which it has no process.
  test "a late close/1 in the supervisor does not touch the next connection", %{pool: pool} = context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {first, _client} = accept(context, acceptor)
    assert give(context, acceptor, first, supervisor) == :ok

    {second, client} = accept(context, acceptor)
    assert counts(pool) == {1, 1, 0}
    assert give(context, acceptor, second, supervisor) == :ok
    assert close(context, supervisor, first) == :ok
    assert counts(pool) == {1, 1, 0}
    assert give(context, supervisor, second, serving) == :ok
    assert [%{pid: ^serving}] = Pool.holders(pool)
    refute ended?(client)
  end

  test "connections of several acceptors and supervisors do not mix", %{pool: pool} = context do
    people = for _ <- 1..3, do: {actor(), supervisor(), actor()}
    accepted = for {acceptor, _, _} <- people, do: accept(context, acceptor)

    for {{acceptor, supervisor, _}, {connection, _}} <- Enum.zip(people, accepted) do
      assert give(context, acceptor, connection, supervisor) == :ok
    end

    {dead, _, _} = hd(people)
    kill(dead)

    answers =
      for {{_, supervisor, serving}, {connection, _}} <- Enum.reverse(Enum.zip(people, accepted)) do
        give(context, supervisor, connection, serving)
      end

    assert answers == [:ok, :ok, {:error, :closed}]
    served = for {_, _, serving} <- tl(people), do: serving
    assert eventually(fn -> Enum.sort(for %{pid: pid} <- Pool.holders(pool), do: pid) == Enum.sort(served) end)
  end

  test "the process of a connection can give its socket away, and keeps its permit", %{pool: pool} = context do
    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, _client} = accept(context, acceptor)
    give(context, acceptor, connection, supervisor)
    give(context, supervisor, connection, serving)
    assert give(context, serving, connection, actor()) == :ok
    assert [%{pid: ^serving}] = Pool.holders(pool)
  end

  test "a limiter has no permits to pass on", %{socket: socket, port: port} do
    limiter = unique_name()
    start_supervised!({Penstock.RateLimiter, name: limiter, limit: 1, per: 60_000})
    name = unique_name()
    Module.create(name, quote(do: use(Penstock.Listener, gate: unquote(limiter))), Macro.Env.location(__ENV__))
    context = %{transport: Module.concat(name, Ranch), socket: socket, port: port}

    {acceptor, supervisor, serving} = {actor(), supervisor(), actor()}
    {connection, client} = accept(context, acceptor)
    assert give(context, acceptor, connection, supervisor) == :ok
    assert give(context, supervisor, connection, serving) == :ok
    refute row?(connection)
    refute ended?(client)
    ask(acceptor, fn -> context.transport.accept(socket, 10_000) end)
    assert ended(connect!(port)) == :closed
  end
end
