defmodule Penstock.Audit.ProjectTest do
  use ExUnit.Case, async: true

  import Penstock.AuditSources

  alias Penstock.Audit

  @mix """
  defmodule NAME.MixProject do
    use Mix.Project
    def project, do: [app: :APP, version: "1.0.0", elixir: "~> 1.14"]
    def application, do: []
  end
  """

  @umbrella """
  defmodule Umbrella.MixProject do
    use Mix.Project
    def project, do: [apps_path: "apps", deps: []]
  end
  """

  @background """
  defmodule Demo.Background do
    defmacro in_background(work) do
      quote do
        Task.start(fn -> unquote(work) end)
      end
    end

    def start_one(item), do: Task.start(fn -> item end)
  end
  """

  @user """
  defmodule Demo.User do
    import Demo.Background
    import Task, only: [async: 1]

    def macro(items), do: for(item <- items, do: in_background(IO.puts(item)))
    def imported(items), do: Enum.map(items, fn item -> async(fn -> item end) end)
    def helper(items), do: Enum.each(items, fn item -> start_one(item) end)
  end
  """

  @server """
  defmodule Demo.Server do
    use GenServer
    def init(state), do: {:ok, state}
    def handle_cast({:run, job}, state) do
      Task.start(fn -> job end)
      {:noreply, state}
    end
  end
  """

  defp mix(name, app), do: @mix |> String.replace("NAME", name) |> String.replace("APP", app)

  defp places(result),
    do: for(finding <- result.findings, do: {finding.rule, Path.basename(finding.file), finding.line})

  test "sees through imports and macros, by compiling" do
    root = directory(%{"mix.exs" => mix("Demo", "demo"), "lib/background.ex" => @background, "lib/user.ex" => @user})
    assert {:ok, result} = Audit.run([root])
    assert places(result) == [{"PS001", "background.ex", 8}, {"PS001", "user.ex", 5}, {"PS001", "user.ex", 6}]
    assert result.skipped == []
    assert %{files: 2, lines: lines} = result.stats
    assert lines == length(String.split(@background <> @user, "\n")) + 1
    refute File.exists?(Path.join(root, "_build"))
  end

  test "sees the project's own macros without compiling, and says that it did not compile" do
    root = directory(%{"mix.exs" => mix("Demo", "demo"), "lib/background.ex" => @background, "lib/user.ex" => @user})
    assert {:ok, result} = Audit.run([root], compile?: false)
    assert places(result) == [{"PS001", "background.ex", 8}, {"PS001", "user.ex", 5}, {"PS001", "user.ex", 6}]
    assert [%{path: _path, why: "not compiled" <> _}] = result.skipped
  end

  test "keeps the user's build, and does not need it" do
    root =
      directory(%{
        "mix.exs" => mix("Demo", "demo"),
        "lib/server.ex" => @server,
        "_build/dev/lib/demo/ebin/old" => "old"
      })

    assert {:ok, result} = Audit.run([root])
    assert places(result) == [{"PS002", "server.ex", 5}]

    assert [Path.join(root, "_build/dev/lib/demo/ebin/old")] ==
             root |> Path.join("_build/**") |> Path.wildcard() |> Enum.filter(&File.regular?/1)
  end

  test "reads all applications of an umbrella, and what one calls in another" do
    root =
      directory(%{
        "mix.exs" => @umbrella,
        "apps/one/mix.exs" =>
          String.replace(mix("One", "one"), "elixir:", "deps: [{:two, in_umbrella: true}], elixir:"),
        "apps/one/lib/one.ex" =>
          "defmodule One do\n  def handle_cast(job, state) do\n    Two.later(job)\n    {:noreply, state}\n  end\nend\n",
        "apps/two/mix.exs" => mix("Two", "two"),
        "apps/two/lib/two.ex" => "defmodule Two do\n  def later(job), do: Task.start(fn -> job end)\nend\n"
      })

    assert {:ok, result} = Audit.run([root])
    assert [%{rule: "PS002", severity: :high, line: 2, message: message}] = result.findings
    assert message =~ "for each cast in One.handle_cast/2"
  end

  test "skips Erlang sources, and says so" do
    root = directory(%{"mix.exs" => mix("Demo", "demo"), "lib/server.ex" => @server, "src/old.erl" => "-module(old)."})
    assert {:ok, result} = Audit.run([root])
    assert [%{path: path, why: "an Erlang source"}] = result.skipped
    assert Path.basename(path) == "old.erl"
    assert places(result) == [{"PS002", "server.ex", 5}]
  end

  test "says where macros generate code that creates processes" do
    generated = """
    defmodule Demo.Jobs do
      defmacro __using__(_opts) do
        quote do
          def handle_cast(job, state) do
            Task.start(fn -> job end)
            {:noreply, state}
          end
        end
      end
    end

    defmodule Demo.Worker do
      use Demo.Jobs
    end
    """

    root = directory(%{"mix.exs" => mix("Demo", "demo"), "lib/jobs.ex" => generated})
    assert {:ok, %{findings: [], skipped: [%{why: why}]}} = Audit.run([root])
    assert why == "code that macros generate creates processes (line 13)"
  end

  test "answers with the compiler's error if the code does not compile" do
    root =
      directory(%{
        "mix.exs" => mix("Demo", "demo"),
        "lib/broken.ex" => "defmodule Broken do\n  def a, do: nothing(1)\nend\n"
      })

    assert {:error, message} = Audit.run([root])
    assert message =~ "does not compile"
    assert message =~ "undefined function nothing/1"
    assert message =~ "lib/broken.ex"
  end

  test "answers with the place of a syntax error without compiling" do
    root = directory(%{"lib/broken.ex" => "defmodule Broken do\n  def a, do: (\nend\n"})
    assert {:error, message} = Audit.run([root], compile?: false)
    assert message =~ "broken.ex:"
  end

  test "answers with an error for a path that is not there" do
    assert {:error, "/no/such/path: no such file or directory"} = Audit.run(["/no/such/path"])
  end

  test "asks for one file, but reads the project for what reaches it" do
    root =
      directory(%{
        "mix.exs" => mix("Demo", "demo"),
        "lib/server.ex" => @server,
        "lib/two.ex" => "defmodule Demo.Two do\n  def go(items), do: Enum.each(items, &Demo.Three.go/1)\nend\n",
        "lib/three.ex" => "defmodule Demo.Three do\n  def go(item), do: spawn(fn -> item end)\nend\n"
      })

    assert {:ok, result} = Audit.run([Path.join(root, "lib/three.ex")], compile?: false)
    assert places(result) == [{"PS001", "three.ex", 2}]
  end

  test "compiles files that belong to no project" do
    root = directory(%{"a.ex" => @background, "b.ex" => @user, "notes.txt" => "no code"})
    assert {:ok, result} = Audit.run([root])
    assert {"PS001", "b.ex", 5} in places(result)
    assert {:ok, %{findings: [], skipped: [%{why: "not Elixir"}]}} = Audit.run([Path.join(root, "notes.txt")])
  end

  test "leaves out the tools of developers" do
    task =
      "defmodule Mix.Tasks.Demo do\n  use Mix.Task\n  def run(args), do: Enum.each(args, fn a -> spawn(fn -> a end) end)\nend\n"

    assert found(task) == []
  end

  test "audits a project whose path has the characters of a pattern" do
    root = Path.join(directory(%{}), "my [app] {1}")
    File.mkdir_p!(Path.join(root, "lib"))
    File.write!(Path.join(root, "mix.exs"), mix("Demo", "demo"))
    File.write!(Path.join(root, "lib/server.ex"), @server)
    assert {:ok, result} = Audit.run([root], compile?: false)
    assert places(result) == [{"PS002", "server.ex", 5}]
  end

  test "audits the directories that mix.exs names, but not those for tests" do
    paths =
      "  defp paths(:test), do: []\n  defp elixirc_paths(:test), do: [\"test/only\"]\n  defp elixirc_paths(_), do: [\"source\"]\n"

    mix = "Demo" |> mix("demo") |> String.replace("  def application", paths <> "  def application")

    root =
      directory(%{
        "mix.exs" => mix,
        "source/server.ex" => @server,
        "test/only/user.ex" => @user,
        "lib/user.ex" => @user
      })

    assert {:ok, result} = Audit.run([root], compile?: false)
    assert result.stats.files == 2
    assert {"PS002", "server.ex", 5} in places(result)
    assert {:ok, result} = Audit.run([Path.join(root, "source/server.ex")], compile?: false)
    assert places(result) == [{"PS002", "server.ex", 5}]
  end

  test "audits the configuration of a project alone" do
    vm_args = ~s(releases: [demo: [vm_args: "+P 100"]], app:)
    root = directory(%{"mix.exs" => String.replace(mix("Demo", "demo"), "app:", vm_args), "lib/server.ex" => @server})
    assert {:ok, result} = Audit.run([Path.join(root, "mix.exs")])
    assert places(result) == [{"PS020", "mix.exs", 3}]
  end

  test "audits the child of an umbrella once, if the umbrella is audited too" do
    root =
      directory(%{
        "mix.exs" => @umbrella,
        "apps/one/mix.exs" => mix("One", "one"),
        "apps/one/lib/server.ex" => @server
      })

    assert {:ok, %{findings: [_one]}} = Audit.run([root, Path.join(root, "apps/one")], compile?: false)
  end

  test "finds the modules in both branches of a condition" do
    code =
      "if true do\n  defmodule One do\n  end\nelse\n  defmodule One do\n    def all(items), do: Enum.each(items, &spawn(fn -> &1 end))\n  end\nend\n"

    assert [{"PS001", :high, 6}] = found(code)
  end

  test "reads a block with a text longer than an atom, behind the name of a route" do
    code = module("  match \"#{String.duplicate("é", 300)}\" do\n    spawn(fn -> conn end)\n  end")
    assert [{"PS002", :high, 3}] = found(code)
  end

  test "reads a file of 100,000 lines" do
    body =
      for n <- 1..12_500 do
        """
          def f#{n}(items, x) do
            y = Enum.map(items, fn i -> i + x end)
            case y do
              [] -> :ok
              [h | _] when h > 3 -> f#{rem(n, 12_500) + 1}(y, h)
              _other -> Enum.each(y, fn z -> IO.inspect(z) end)
            end
          end
        """
      end

    code = module(Enum.join(body) <> "  def all(items), do: Enum.each(items, &Task.start(fn -> &1 end))")
    assert found(code) == [{"PS001", :high, 100_002}]
  end
end
