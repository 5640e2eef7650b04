defmodule Penstock.Audit.BuildTest do
  # Audits projects that have been compiled before, each by a Mix of its own, as its user does.
  use ExUnit.Case, async: true

  import Penstock.AuditSources

  alias Penstock.Audit

  # The text alone does not tell that these calls are those of Task.
  @code """
  defmodule Demo.Base do
    defmacro __using__(_opts) do
      quote do
        import Task
      end
    end
  end

  defmodule Demo do
    use Demo.Base
    def all(items), do: Enum.each(items, fn item -> start(fn -> item end) end)
  end
  """

  # An audit takes the build path of this variable, as script/sanitize sets it, for that of the project.
  @skip System.get_env("MIX_BUILD_PATH") && "MIX_BUILD_PATH is set"

  defp mix_exs(name, options, more \\ "") do
    """
    defmodule #{name}.MixProject do
      use Mix.Project
      #{more}
      def project, do: [version: "1.0.0", #{options}]
      def application, do: []
    end
    """
  end

  defp compile(root) do
    env = [{"MIX_ENV", "dev"}, {"MIX_BUILD_PATH", nil}, {"MIX_TARGET", nil}]
    {output, status} = System.cmd("mix", ["compile"], cd: root, env: env, stderr_to_stdout: true)
    assert status == 0, output
    output
  end

  defp contents(root, pattern) do
    for path <- Path.wildcard(Path.join(root, pattern), match_dot: true), File.regular?(path), into: %{} do
      {path, {File.read!(path), File.stat!(path).mtime}}
    end
  end

  defp rules({:ok, result}), do: for(finding <- result.findings, do: finding.rule)

  test "leaves the build of a project as it is whose application's name is an attribute" do
    root = directory(%{"mix.exs" => mix_exs("Named", "app: @app", "@app :named"), "lib/demo.ex" => @code})
    compile(root)
    old = {{2020, 1, 1}, {0, 0, 0}}
    for path <- root |> contents("_build/**") |> Map.keys(), do: File.touch!(path, old)
    before = contents(root, "_build/**")
    assert rules(Audit.run([root])) == ["PS001"]
    assert contents(root, "_build/**") == before
  end

  test "leaves the build of a project as it is whose application's name is not known" do
    root = directory(%{"mix.exs" => mix_exs("Hidden", ~S|app: String.to_atom("hidden")|), "lib/demo.ex" => @code})
    compile(root)
    before = contents(root, "_build/**")
    assert rules(Audit.run([root])) == ["PS001"]
    assert contents(root, "_build/**") == before
  end

  test "does not force compilers that write to the sources" do
    compiler = """
    defmodule Mix.Tasks.Compile.Number do
      use Mix.Task.Compiler

      def run(args) do
        if "--force" in args or not File.exists?("lib/number.ex"),
          do: File.write!("lib/number.ex", "defmodule Number do\\n  def one, do: \#{System.os_time()}\\nend\\n")

        {:ok, []}
      end
    end

    """

    mix_exs = compiler <> mix_exs("Written", "app: :written, compilers: [:number] ++ Mix.compilers()")
    root = directory(%{"mix.exs" => mix_exs, "lib/demo.ex" => @code})
    compile(root)
    before = contents(root, "lib/*")
    assert rules(Audit.run([root])) == ["PS001"]
    assert contents(root, "lib/*") == before
  end

  @tag skip: @skip
  test "compiles the child of an umbrella with the build of the umbrella" do
    base = """
    defmodule Two do
      defmacro __using__(_opts), do: quote(do: import(Task))
    end
    """

    root =
      directory(%{
        "mix.exs" => mix_exs("Both", ~s(apps_path: "apps")),
        "apps/one/mix.exs" =>
          mix_exs("One", ~s(app: :one, build_path: "../../_build", deps: [{:two, in_umbrella: true}])),
        "apps/one/lib/one.ex" => String.replace(@code, "use Demo.Base", "use Two"),
        "apps/two/mix.exs" => mix_exs("Two", ~s(app: :two, build_path: "../../_build")),
        "apps/two/lib/two.ex" => base
      })

    compile(root)
    before = contents(root, "_build/**")
    assert rules(Audit.run([Path.join(root, "apps/one")])) == ["PS001"]
    assert contents(root, "_build/**") == before
  end

  @tag skip: @skip
  test "takes the environment and the target from the name of a build" do
    root =
      directory(%{
        "mix.exs" => mix_exs("Board", "app: :board"),
        "config/config.exs" => ~S|import Config; import_config "#{config_env()}_#{config_target()}.exs"|,
        "config/dev_rpi.exs" => "import Config",
        "_build/rpi_dev/lib/none/ebin/none.app" => "",
        "lib/demo.ex" => @code
      })

    assert rules(Audit.run([root])) == ["PS001"]
  end

  test "sees through imports in a project whose path has a link" do
    root = directory(%{"mix.exs" => mix_exs("Linked", "app: :linked"), "lib/demo.ex" => @code})
    link = Path.join(directory(%{"none" => ""}), "link")
    File.ln_s!(root, link)
    assert rules(Audit.run([link])) == ["PS001"]
  end

  test "needs no directory for temporary files without a space in its name" do
    root = directory(%{"mix.exs" => mix_exs("Spaced", "app: :spaced"), "lib/demo.ex" => @code})
    temporary = Path.join(root, "a b")
    File.mkdir!(temporary)
    code = "{:ok, result} = Penstock.Audit.run([#{inspect(root)}]); IO.write(length(result.findings))"
    paths = Enum.flat_map(:code.get_path(), &["-pa", List.to_string(&1)])
    args = paths ++ ["-e", code]
    assert System.cmd("elixir", args, env: [{"TMPDIR", temporary}], stderr_to_stdout: true) == {"1", 0}
  end

  test "shows what a compiler says in bytes that are no text" do
    raising = ~S|:file.write_file("/dev/stderr", <<"caf", 233, ?\n>>); raise "no"|
    root = directory(%{"mix.exs" => mix_exs("Loud", "app: :loud") <> raising, "lib/demo.ex" => @code})
    assert {:error, message} = Audit.run([root])
    assert String.valid?(message)
    assert message =~ "caf?"
  end

  test "does not run a script" do
    root = directory(%{"mix.exs" => mix_exs("Script", "app: :script")})
    ran = Path.join(root, "ran")
    script = Path.join(root, "priv/seeds.exs")
    File.mkdir!(Path.dirname(script))
    File.write!(script, "File.write!(#{inspect(ran)}, \"\")\n" <> @code)
    assert {:ok, %{stats: %{files: 1}}} = Audit.run([script])
    refute File.exists?(ran)
  end
end
