defmodule Penstock.Listener.LingeringTest do
  # Runs alone, because all listeners of the VM share the pool of lingering connections.
  use Penstock.PoolCase, async: false

  alias Penstock.Listener.Lingering
  import Penstock.Connections

  # Returns the transport for TLS of a listener whose gate refuses all connections.
  defp transport(opts) do
    gate = start_pool(limit: 0)
    name = unique_name()
    code = quote(do: use(Penstock.Listener, unquote([gate: gate, key: :none] ++ opts)))
    {:module, ^name, _binary, _result} = Module.create(name, code, Macro.Env.location(__ENV__))
    {Module.concat(name, TLS), gate}
  end

  # Returns the port of a listening socket, and an actor that accepts on it.
  defp accepting(transport) do
    {:ok, socket} = transport.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 1_024])
    {:ok, port} = transport.port(socket)
    acceptor = actor()
    {port, acceptor, ask(acceptor, fn -> transport.accept(socket, :infinity) end), socket}
  end

  defp lingering, do: Penstock.Native.pool_info(:persistent_term.get(Lingering)).in_use

  test "a refused connection stays open for the time of the option, and ends then" do
    for {on_reject, ended} <- [close: :closed, reset: :reset] do
      {transport, _gate} = transport(refuse_after: 1_000, on_reject: on_reject)
      {port, _acceptor, _accepted, _socket} = accepting(transport)
      began = System.monotonic_time(:millisecond)
      first = connect!(port)
      assert eventually(fn -> lingering() == 1 end)
      refute ended?(first)
      second = connect!(port)
      assert ended(first) == ended
      assert System.monotonic_time(:millisecond) - began >= 1_000
      assert ended(second) == ended
      assert eventually(fn -> lingering() == 0 end)
    end
  end

  test "connections are admitted while others linger" do
    {transport, gate} = transport(refuse_after: 60_000)
    {port, _acceptor, accepted, _socket} = accepting(transport)
    for _ <- 1..20, do: connect!(port)
    assert eventually(fn -> lingering() == 20 end)
    :ok = Pool.update(gate, limit: 1)
    connect!(port)
    assert {:ok, _socket} = answer(accepted)
    assert Pool.info(gate).in_use == 1
  end

  test "the death of an acceptor ends what lingers in it" do
    {transport, _gate} = transport(refuse_after: 60_000)
    {port, acceptor, _accepted, _socket} = accepting(transport)
    clients = for _ <- 1..50, do: connect!(port)
    assert eventually(fn -> lingering() == 50 end)
    Process.exit(acceptor, :kill)
    for client <- clients, do: assert(ended(client) in [:closed, :reset])
    assert eventually(fn -> lingering() == 0 end)
  end

  test "connections beyond the bound end at once" do
    pool = :persistent_term.get(Lingering)
    limit = Penstock.Native.pool_info(pool).limit
    :ok = Penstock.Native.pool_update(pool, 3, :keep)
    on_exit(fn -> Penstock.Native.pool_update(pool, limit, :keep) end)

    {transport, _gate} = transport(refuse_after: 60_000)
    {port, _acceptor, _accepted, _socket} = accepting(transport)
    first = for _ <- 1..3, do: connect!(port)
    assert eventually(fn -> lingering() == 3 end)
    for _ <- 1..5, do: assert(port |> connect!() |> ended() == :closed)
    refute Enum.any?(first, &ended?/1)
  end

  test "the bound is a part of what the VM can have" do
    limit = Penstock.Native.pool_info(:persistent_term.get(Lingering)).limit
    descriptors = for set <- :erlang.system_info(:check_io), do: set[:max_fds]
    assert limit == div(Enum.min([:erlang.system_info(:port_limit) | descriptors]), 4)
  end

  test "an acceptor whose time is over returns, and what lingers stays" do
    {transport, _gate} = transport(refuse_after: 60_000)
    {:ok, socket} = transport.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = transport.port(socket)
    client = connect!(port)
    assert transport.accept(socket, 100) == {:error, :timeout}
    refute ended?(client)
  end

  test "end_all/0 ends all that linger in an acceptor" do
    {transport, _gate} = transport(refuse_after: 60_000)
    {:ok, socket} = transport.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = transport.port(socket)
    clients = for _ <- 1..3, do: connect!(port)
    assert transport.accept(socket, 100) == {:error, :timeout}
    assert lingering() == 3
    Lingering.end_all()
    for client <- clients, do: assert(ended(client) == :closed)
    assert lingering() == 0
  end

  test "a wrong time raises" do
    for wrong <- [-1, 60_001, :infinity, nil] do
      assert_raise ArgumentError, ~r/:refuse_after/, fn ->
        {transport, _gate} = transport(refuse_after: wrong)
        transport.listen(0, [])
      end
    end
  end
end
