defmodule Penstock.Demo.RequestsTest do
  # The server's gates have names, so only one test can have a server.
  use ExUnit.Case, async: false

  alias Penstock.Demo.{Requests, Tally}

  @flood {192, 0, 2, 1}
  @innocent {198, 18, 0, 1}

  setup do
    {:ok, _apps} = Application.ensure_all_started(:penstock)
    %{tally: Tally.new()}
  end

  # Sends more slow requests than the server takes, and asks it once.
  defp attack(mode, tally) do
    requests = Requests.new(mode, tally, limit: 5, per_address: 2)
    test = self()
    for _ <- 1..8, do: Requests.send_request(requests, @flood, fn -> await_end(test) end)
    Requests.ask(requests, @innocent, fn -> send(test, :answered) end)
  end

  defp await_end(test) do
    monitor = Process.monitor(test)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
  end

  test "unguarded, each request gets a process", %{tally: tally} do
    assert attack(:unguarded, tally) == :ok
    assert_receive :answered, 5_000
    assert %{offered: 9, refused: 0, asked: 1} = Tally.read(tally)
  end

  test "one pool for all refuses the innocent client as well", %{tally: tally} do
    assert attack(:one_pool, tally) == :error
    assert %{offered: 9, refused: 4, asked: 1, answered: 0} = Tally.read(tally)
  end

  test "a gate with a pool for each address serves it", %{tally: tally} do
    assert attack(:guarded, tally) == :ok
    assert_receive :answered, 5_000
    assert %{offered: 9, refused: 6, asked: 1} = Tally.read(tally)
  end
end
