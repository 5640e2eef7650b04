defmodule Penstock.Demo.SlowServerTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{SlowServer, Tally}

  @above 5

  setup do
    {:ok, _apps} = Application.ensure_all_started(:penstock)
    %{tally: Tally.new()}
  end

  # Casts more readings than the mailbox has room for, while the server does not run.
  defp attack(mode, tally) do
    server = SlowServer.start_link(mode, tally, 1)
    :erlang.suspend_process(server.pid)
    for _ <- 1..(SlowServer.limit() + @above), do: SlowServer.cast(server)
    server
  end

  # The server takes its messages up in their order, so it answers after it has handled all readings.
  defp resume(server) do
    :erlang.resume_process(server.pid)
    SlowServer.ask(server)
  end

  test "unguarded, all readings wait, and all are handled", %{tally: tally} do
    server = attack(:unguarded, tally)
    offered = SlowServer.limit() + @above
    assert {:message_queue_len, ^offered} = Process.info(server.pid, :message_queue_len)
    refute SlowServer.idle?(server)

    resume(server)
    assert SlowServer.idle?(server)
    assert %{offered: ^offered, done: ^offered, refused: 0, asked: 1, answered: 1} = counts = Tally.read(tally)
    # The first reading was no longer in the queue when the server looked.
    assert counts.peak_queue in (offered - 1)..offered
    assert counts.queue == 0
  end

  test "guarded, a reading above the limit is refused and counted, and all others are handled", %{tally: tally} do
    server = attack(:guarded, tally)
    limit = SlowServer.limit()
    assert {:message_queue_len, ^limit} = Process.info(server.pid, :message_queue_len)
    assert %{limit: ^limit, in_use: ^limit, rejected: @above} = Penstock.Mailbox.info(server.pid)
    refute SlowServer.idle?(server)

    resume(server)
    assert SlowServer.idle?(server)
    offered = limit + @above
    assert %{offered: ^offered, done: ^limit, refused: @above, asked: 1, answered: 1} = counts = Tally.read(tally)
    assert counts.peak_queue in (limit - 1)..limit
    assert counts.queue == 0
  end
end
