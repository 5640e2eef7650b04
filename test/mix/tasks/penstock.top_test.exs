defmodule Mix.Tasks.Penstock.TopTest do
  use ExUnit.Case, async: true

  alias Mix.Tasks.Penstock.Top
  alias Penstock.TerminalRun
  alias Penstock.Top.Connection

  @cookie "penstock-top-test"

  test "wrong arguments are errors that say what is wrong" do
    for {args, message} <- [
          {[], "expected the name of one node"},
          {["a@b", "c@d"], "expected the name of one node"},
          {["a@b", "--sort", "size"], "--sort is one of s, n, u, a, r, w"},
          {["a@b", "--interval", "fast"], ~s(--interval cannot be "fast")},
          {["a@b", "--often"], "unknown option, or an option without its value: --often"},
          {["a@b", "--cookie"], "unknown option, or an option without its value: --cookie"}
        ],
        do: assert_raise(Mix.Error, ~r/^#{Regex.escape(message)}/, fn -> Top.run(args) end)
  end

  test "a wrong name of a node is an error before this VM becomes a node" do
    for name <- ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "a\e[31m@b", <<255>>, String.duplicate("a", 300)],
        do: assert({:error, "" <> _message} = Connection.open(name, []))

    assert {:error, "--name and --sname exclude each other"} = Connection.open("a@b", name: "c", sname: "d")

    for option <- [:name, :sname, :cookie] do
      assert {:error, "--#{option} has more than 180 bytes"} ==
               Connection.open("a@b", [{option, String.duplicate("c", 181)}])
    end

    refute Node.alive?()
  end

  describe "against a node" do
    setup do
      number = System.unique_integer([:positive])
      name = "penstock_top_test_#{System.pid()}_#{number}@127.0.0.1"

      code = """
      {:ok, _apps} = Application.ensure_all_started(:penstock)
      {:ok, _pid} = Penstock.Pool.start_link(name: MyApp.Jobs, limit: 3)
      IO.puts("up")
      IO.gets("")
      """

      port =
        Port.open({:spawn_executable, System.find_executable("elixir")}, [
          :binary,
          :exit_status,
          args: ["--name", name, "--cookie", @cookie, "-pa", ebin(), "-e", code]
        ])

      # The node ends with its input, when the port closes.
      assert_receive {^port, {:data, "up" <> _rest}}, Penstock.PoolCase.patience(60_000)
      %{node: name, port: port}
    end

    defp ebin, do: Penstock.Top |> :code.which() |> Path.dirname()

    defp task(node, options, first \\ "") do
      "elixir -pa #{ebin()} -e '#{first} Mix.start(); Mix.CLI.main()' penstock.top #{node} --cookie #{@cookie} #{options}"
    end

    defp run(command), do: System.cmd("sh", ["-c", command], stderr_to_stdout: true, env: [{"LC_ALL", "C.UTF-8"}])

    test "--once prints a page, and the status tells of errors", %{node: node, port: port} do
      assert {page, 0} = run("cd / && " <> task(node, "--once --interval 100"))
      assert page =~ ~r/^#{Regex.escape(node)}  \d\d:\d\d:\d\d UTC  pressure/
      assert page =~ ~r{^MyApp.Jobs +pool +0/3 }m
      refute page =~ "\e"

      assert {refused, 1} = run("cd / && " <> task(node, "--once --cookie wrong"))
      assert refused =~ "a node of that name runs, but refuses"
      assert {unknown, 1} = run("cd / && " <> task("not_" <> node, "--once"))
      assert unknown =~ "no node not_penstock_top_test"
      assert {bad, 1} = run("cd / && " <> task(node, "--once --interval 1"))
      assert bad =~ "expected :interval to be an integer between 100 and 3600000, got: 1"
      Port.close(port)
    end

    if TerminalRun.available?() do
      # The terminal differs from its usual settings, to see that those of the user are restored.
      defp in_terminal(command) do
        status = ~S[printf '\nstatus=%s\n' $?]
        TerminalRun.start("cd /; stty -echoe; stty -g; #{command}; #{status}; stty -g; echo over; read end")
      end

      defp settings(output), do: Regex.scan(~r/^[0-9a-f]+(?::[0-9a-f]+){10,}/m, output)

      test "keys work at once, and the terminal is restored", %{node: node} do
        port = in_terminal(task(node, "--interval 100"))
        seen = TerminalRun.await(port, ~r/by state.*MyApp.Jobs/s)
        TerminalRun.type(port, "n")
        seen = TerminalRun.await(port, ~r/by name/, seen)
        TerminalRun.type(port, "q")
        seen = TerminalRun.await(port, ~r/over/, seen)
        assert [before, before] = settings(seen)
        assert seen =~ ~r/\e\[\?1049h.*\e\[\?25h\e\[\?1049l/s
        TerminalRun.type(port, "\n")
      end

      test "the terminal is restored when the node is lost", %{node: node, port: node_port} do
        port = in_terminal(task(node, "--interval 100"))
        seen = TerminalRun.await(port, ~r/by state.*MyApp.Jobs/s)
        Port.close(node_port)
        seen = TerminalRun.await(port, ~r/over/, seen)
        assert seen =~ "is not connected any more"
        assert seen =~ "status=1"
        assert [before, before] = settings(seen)
        TerminalRun.type(port, "\n")
      end

      test "the terminal is restored after a kill of the task", %{node: node} do
        task = task(node, "--interval 100", ~S[IO.puts("pid=" <> System.pid());])
        # The shell outside of the VM restores the terminal, perhaps a moment after the death.
        wait = ~S{until test "$(stty -g)" = "$before"; do sleep 0.05; done}
        # The killed VM leaves its input non-blocking, so the shell reads from the terminal itself.
        port = TerminalRun.start("cd /; before=$(stty -g); #{task}; #{wait}; echo over; read end </dev/tty")
        seen = TerminalRun.await(port, ~r/by state.*MyApp.Jobs/s)
        [pid] = Regex.run(~r/pid=(\d+)/, seen, capture: :all_but_first)
        {_output, 0} = System.cmd("kill", ["-KILL", pid])
        # From OTP 26 on, the VM restores the settings as well, but not the screen.
        seen = TerminalRun.await(port, ~r/over/, seen)
        TerminalRun.await(port, ~r/\e\[\?1049h.*\e\[\?25h\e\[\?1049l/s, seen)
        TerminalRun.type(port, "\n")
      end
    end
  end
end
