defmodule Penstock.Demo.WebTest do
  # The server and its gates have names, so only one test can have a server.
  use ExUnit.Case, async: false

  alias Penstock.Demo.{Tally, Web}
  alias Penstock.Demo.Web.{Clients, Visitor}

  # The helper of the tests excludes these tests where Cowboy is missing.
  @moduletag :cowboy

  @limits [limit: 4, per_address: 2, connections: 20, connections_per_address: 3, refuse_after: 10]

  @slow {127, 0, 0, 3}
  @visitor {127, 0, 0, 4}
  @slow_clients 6

  @plan %{questions: 3, every_ms: 10, patience_ms: 60_000}

  setup do
    {:ok, _apps} = Application.ensure_all_started(:penstock)
    # The gates end after the process of the test, to which they are linked.
    on_exit(fn -> await(fn -> Penstock.list() == [] end) end)
    %{tally: Tally.new()}
  end

  # Returns the port of a server, which ends before the next test begins.
  defp start(mode) do
    {supervisor, port} = Web.start_link(mode, @limits)

    on_exit(fn ->
      monitor = Process.monitor(supervisor)
      assert_receive {:DOWN, ^monitor, :process, ^supervisor, _reason}
    end)

    port
  end

  # Sends slow requests until `held` of them are in the handler, and visits the server meanwhile.
  defp attack(mode, tally, held) do
    server = start(mode)
    slow = Clients.start(:slow, server, @slow, @slow_clients, tally)
    Clients.go(slow)
    await(fn -> held.() end)
    Visitor.visit(server, @visitor, tally, @plan)
    Clients.stop(slow)
    await(fn -> Penstock.list() |> Enum.all?(&(Map.get(&1, :in_use, 0) == 0)) end)
    Tally.read(tally)
  end

  defp await(condition) do
    unless condition.() do
      Process.sleep(1)
      await(condition)
    end
  end

  defp in_use(name), do: for(%{name: ^name, in_use: in_use} <- Penstock.list(), reduce: 0, do: (_none -> in_use))

  test "unguarded, it answers", %{tally: tally} do
    assert %{asked: 3, answered: 3, offered: 9, done: 9, refused: 0} =
             attack(:unguarded, tally, fn -> Tally.read(tally).offered == @slow_clients end)
  end

  test "with one pool, slow clients lock the innocent one out", %{tally: tally} do
    assert %{asked: 3, answered: 0, offered: offered, done: 4, refused: refused} =
             attack(:one_pool, tally, fn -> in_use(Web.All) == 4 end)

    assert offered == 4 + refused
  end

  test "guarded, the innocent client is answered", %{tally: tally} do
    assert %{asked: 3, answered: 3, offered: offered, done: done, refused: refused} =
             attack(:guarded, tally, fn -> in_use(Web.All) == 2 end)

    assert offered == done + refused
    assert refused > 0
  end

  test "quick clients ask again when they are answered", %{tally: tally} do
    server = start(:unguarded)
    quick = Clients.start(:quick, server, @slow, 2, tally)
    Clients.go(quick)
    await(fn -> Tally.read(tally).done > 4 end)
    Clients.stop(quick)
    assert %{offered: done, done: done, refused: 0} = Tally.read(tally)
  end
end
