defmodule Penstock.TopTest do
  # The tests change variables of the environment.
  use Penstock.PoolCase, async: false

  alias Penstock.{FakeTerminal, Reports, Top}
  alias Penstock.Top.{Loop, Screen, View}

  doctest Penstock.Top

  @moduletag :capture_log

  setup do
    before = for name <- ["TERM", "NO_COLOR"], into: %{}, do: {name, System.get_env(name)}
    System.put_env(%{"TERM" => "xterm", "NO_COLOR" => "1"})
    on_exit(fn -> System.put_env(before) end)
  end

  # Receives outputs until one matches.
  defp await(pattern) do
    assert_receive {:output, text}
    if text =~ pattern, do: text, else: await(pattern)
  end

  defp run(terminal, opts), do: FakeTerminal.run(terminal, fn -> Top.run([interval: 100] ++ opts) end)

  test "shows the gates of this node, follows keys, and leaves the next line to the shell" do
    name = start_pool(limit: 3)
    terminal = FakeTerminal.start({200, 1_000})
    task = run(terminal, [])
    page = await(~r/by state/)
    assert page =~ "\e[H"
    assert page =~ Penstock.Top.GateTable.name(name)
    FakeTerminal.type(terminal, "n\n")
    await(~r/by name/)
    FakeTerminal.type(terminal, "3\n")
    await(~r/\[3 keys\]/)
    FakeTerminal.type(terminal, "h\n")
    await(~r/any key: back/)
    FakeTerminal.type(terminal, "q\nfor the shell\n")
    # The first key leaves nothing of the help, since q quits everywhere.
    assert Task.await(task) == :ok
    assert FakeTerminal.reads(terminal) == 0
    Process.group_leader(self(), terminal)
    assert IO.gets("") == "for the shell\n"
  end

  test "several keys in one line count one after another" do
    terminal = FakeTerminal.start({80, 24})
    task = run(terminal, [])
    await(~r/by state/)
    FakeTerminal.type(terminal, "u4\n")
    await(~r/\[4 bans\]  by used/)
    FakeTerminal.type(terminal, "nq\n")
    assert Task.await(task) == :ok
  end

  test "shows a new page at each interval, and none while it pauses" do
    terminal = FakeTerminal.start({80, 24})
    task = run(terminal, [])
    for _ <- 1..5, do: await(~r/pressure/)
    FakeTerminal.type(terminal, "p\n")
    await(~r/PAUSED/)
    FakeTerminal.type(terminal, "p\n")
    await(~r/^(?!.*PAUSED).*pressure/s)
    FakeTerminal.type(terminal, "q\n")
    assert Task.await(task) == :ok
  end

  test "NO_COLOR and TERM=dumb are honoured" do
    start_pool(limit: 3)

    for {env, escapes, colours} <- [
          {%{"NO_COLOR" => "1"}, true, false},
          {%{"NO_COLOR" => nil}, true, true},
          {%{"NO_COLOR" => ""}, true, true},
          {%{"TERM" => "dumb", "NO_COLOR" => nil}, false, false}
        ] do
      System.put_env(env)
      terminal = FakeTerminal.start({80, 24})
      task = run(terminal, [])
      page = await(~r/pressure/)
      assert {env, page =~ "\e[K", page =~ ~r/\e\[[0-9;]*m/} == {env, escapes, colours}
      FakeTerminal.type(terminal, "q\n")
      assert Task.await(task) == :ok
    end
  end

  test "the end of the input ends the page" do
    terminal = FakeTerminal.start({80, 24})
    task = run(terminal, [])
    await(~r/pressure/)
    FakeTerminal.close_input(terminal)
    assert Task.await(task) == :ok
  end

  test "without a terminal, pages are plain text, and the end of the input waits for one with rates" do
    start_pool(limit: 3)
    terminal = FakeTerminal.start(nil)
    FakeTerminal.close_input(terminal)
    task = run(terminal, columns: 150, lines: 1_000)
    assert Task.await(task) == :ok
    first = await(~r/pressure/)
    second = await(~r/pressure/)
    refute first <> second =~ "\e"
    refute first <> second =~ "q quit"
  end

  test "once: true prints one page with rates and reads nothing" do
    name = start_pool(limit: 3)
    terminal = FakeTerminal.start({80, 24})
    assert Task.await(run(terminal, once: true, sort: :name)) == :ok
    page = await(~r/pressure/)
    refute page =~ "\e"
    assert page =~ ~r/#{name |> Penstock.Top.GateTable.name() |> String.slice(-12, 12)} +pool +0\/3 .* 0 +0 calm/
    refute_received {:output, _text}
    assert FakeTerminal.reads(terminal) == 0
  end

  test "leaves the mailbox of the caller as it is" do
    terminal = FakeTerminal.start({80, 24})

    task =
      FakeTerminal.run(terminal, fn ->
        send(self(), :mine)
        send(self(), {make_ref(), :tick})
        {:ok, before} = {:ok, Process.info(self(), :messages)}
        :ok = Top.run(interval: 100)
        {before == Process.info(self(), :messages), Process.info(self(), :links)}
      end)

    await(~r/pressure/)
    await(~r/pressure/)
    FakeTerminal.type(terminal, "q\n")
    assert {true, {:links, [_test]}} = Task.await(task)
  end

  test "a lost connection ends the page, and the reader gets no line of the shell" do
    terminal = FakeTerminal.start({80, 24})

    task =
      FakeTerminal.run(terminal, fn ->
        screen = Screen.open([])
        Loop.run(:"gone@127.0.0.1", Reports.report([]), %View{interval: 100}, screen)
      end)

    await(~r/pressure/)
    await(~r/press Enter/)
    FakeTerminal.type(terminal, "\n")
    assert Task.await(task) == {:error, :noconnection}
    assert FakeTerminal.reads(terminal) == 0
  end

  test "a page that is paused calls no node late" do
    terminal = FakeTerminal.start({80, 24})

    task =
      FakeTerminal.run(terminal, fn ->
        screen = %{Screen.open([]) | input: :keys, shell?: false}
        # The notice of a late node is there from the first page on.
        view = %View{interval: 100, sort: :name, paused?: true, waited_ms: 60_000}
        Loop.run(node(), Reports.report([Reports.pool(:p)]), view, screen)
      end)

    await(~r/has not answered for/)
    FakeTerminal.type(terminal, "w")
    refute await(~r/pressure/) =~ "has not answered"
    FakeTerminal.type(terminal, "q")
    assert Task.await(task) == :ok
  end

  test "single keys and arrows work where no shell has the terminal" do
    terminal = FakeTerminal.start({80, 24})

    task =
      FakeTerminal.run(terminal, fn ->
        gates = for n <- 10..99, do: Reports.pool(:"p#{n}")
        screen = %{Screen.open([]) | input: :keys, shell?: false}
        # Pages come by keys alone.
        Loop.run(node(), Reports.report(gates), %View{interval: 3_600_000, sort: :name, paused?: true}, screen)
      end)

    await(~r/p10 /)
    FakeTerminal.type(terminal, "\e[B")
    refute await(~r/p15 /) =~ "p14 "
    FakeTerminal.type(terminal, "\e[A")
    await(~r/p10 /)
    FakeTerminal.type(terminal, "\e[C\eOBw")
    await(~r/by waiting/)
    FakeTerminal.type(terminal, <<3>>)
    assert Task.await(task) == :ok
  end

  test "wrong options raise" do
    for {opts, message} <- [
          {[interval: 99], "expected :interval to be an integer between 100 and 3600000, got: 99"},
          {[interval: nil], "expected :interval to be an integer between 100 and 3600000, got: nil"},
          {[sort: :size],
           "expected :sort to be :admitted or :name or :refused or :state or :used or :waiting, got: :size"},
          {[lines: 0], "expected :lines to be an integer between 1 and 1000, got: 0"},
          {[columns: 1_001], "expected :columns to be an integer between 1 and 1000, got: 1001"},
          {[once: 1], "expected :once to be true or false, got: 1"},
          {[node: "shop"], ~s|expected :node to be a connected node, got: "shop" (connected: [])|},
          {[node: :shop@host], "expected :node to be a connected node, got: :shop@host (connected: [])"},
          {[intervall: 5],
           "unknown option :intervall, did you mean :interval? Known: :interval, :sort, :lines, :columns, :node, :once"},
          {:once, "expected options to be a keyword list, got: :once"}
        ] do
      assert_raise ArgumentError, message, fn -> Top.run(opts) end
    end
  end
end
