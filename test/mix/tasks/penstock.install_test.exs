defmodule Mix.Tasks.Penstock.InstallTest do
  # Runs the task in projects of their own, each in a VM of its own, as a user would. No Igniter is there;
  # test/integration/install has the tests with it.
  use ExUnit.Case, async: true

  alias Penstock.Install.Tree

  @moduletag :tmp_dir

  @application """
  defmodule Shop.Application do
    use Application

    @impl true
    def start(_type, _args) do
      children = [
        Shop.Repo,
        Shop.Web
      ]

      Supervisor.start_link(children, strategy: :one_for_one)
    end
  end
  """

  defp mix_exs(app, deps, application \\ "mod: {Shop.Application, []}") do
    """
    defmodule #{Macro.camelize(app)}.MixProject do
      use Mix.Project

      def project, do: [app: :#{app}, version: "1.0.0", deps: deps()]

      def application, do: [#{application}]

      defp deps do
        [#{deps}]
      end
    end
    """
  end

  defp write(dir, files) do
    for {path, text} <- files do
      path = Path.join(dir, path)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
    end

    dir
  end

  defp install(dir, args \\ []) do
    ebin = Tree |> :code.which() |> Path.dirname()

    System.cmd("elixir", ["-pa", ebin, "-e", "Mix.start(); Mix.CLI.main()", "penstock.install" | args],
      cd: dir,
      stderr_to_stdout: true,
      env: [{"LC_ALL", "C.UTF-8"}, {"MIX_ENV", "dev"}, {"ERL_LIBS", nil}]
    )
  end

  defp files(dir) do
    for path <- Path.wildcard(Path.join(dir, "**"), match_dot: true),
        File.regular?(path),
        into: %{},
        do: {path, File.read!(path)}
  end

  @here ~s({:penstock, path: "#{File.cwd!()}"})

  test "prints the line, and where it goes, and writes nothing", %{tmp_dir: dir} do
    write(dir, [{"mix.exs", mix_exs("shop", @here)}, {"lib/shop/application.ex", @application}])
    before = files(dir)
    assert {output, 0} = install(dir)

    assert output =~ """
           This project has no Igniter, so nothing was written. What to do:

           lib/shop/application.ex:6: start the pool first in the tree of Shop.Application

                     children = [
               +       {Penstock.Pool, name: Shop.Jobs, limit: 100},
                       Shop.Repo,
           """

    refute output =~ "mix.exs"
    assert files(dir) == before
    assert {named, 0} = install(dir, ["--name", "Shop.Mail", "--limit", "20000", "--yes", "--dry-run"])
    assert named =~ "    +       {Penstock.Pool, name: Shop.Mail, limit: 20_000},\n"
    assert files(dir) == before
  end

  test "the lines that are printed make a project that has the pool, and a second run says so", %{tmp_dir: dir} do
    for {children, number} <-
          Enum.with_index([
            "[]",
            "[Shop.Repo]",
            "[Shop.Repo] ++ []",
            "[\n      # none\n    ]",
            "[Shop.Repo,\n Shop.Web]"
          ]) do
      dir = Path.join(dir, "#{number}")
      application = String.replace(@application, ~r/\[\s+Shop.Repo,\s+Shop.Web\s+\]/, children)
      write(dir, [{"mix.exs", mix_exs("shop", @here)}, {"lib/shop/application.ex", application}])
      assert {output, 0} = install(dir)

      [_all, path, line] = Regex.run(~r/^(lib\S+):(\d+): start the pool first/m, output)
      [added] = Regex.run(~r/^    \+ (.*)$/m, output, capture: :all_but_first)
      lines = String.split(application, "\n")
      at = String.to_integer(line)
      keep = if output =~ ~r/^    - /m, do: at - 1, else: at
      changed = (Enum.take(lines, keep) ++ [added] ++ Enum.drop(lines, at)) |> Enum.join("\n")
      assert {:ok, %{named: [%{name: "Shop.Jobs"}]}} = Tree.read(changed, "Shop.Application")

      write(dir, [{path, changed}])
      assert {again, 0} = install(dir)
      assert again =~ ~r/\Alib\/shop\/application.ex:\d+ has the pool Shop.Jobs: nothing is to do there.\n\z/
    end
  end

  test "a name that another child has is an error", %{tmp_dir: dir} do
    application = String.replace(@application, "Shop.Web", "{Penstock.Gate, name: Shop.Jobs, limits: []}")
    write(dir, [{"mix.exs", mix_exs("shop", @here)}, {"lib/shop/application.ex", application}])
    assert {output, 1} = install(dir)

    assert output =~
             "lib/shop/application.ex:8: a Penstock.Gate has the name Shop.Jobs; give the pool another by --name"

    assert {_output, 0} = install(dir, ["--name", "Shop.Others"])
  end

  test "other shapes of an application module are named, with the line to add", %{tmp_dir: dir} do
    application = "defmodule Shop.Application do\n  def start(_type, _args), do: Shop.Tree.start_link()\nend\n"
    write(dir, [{"mix.exs", mix_exs("shop", @here)}, {"lib/tree.ex", application}])
    assert {output, 0} = install(dir)
    assert output =~ "lib/tree.ex:2: put the pool first in the list of children that Shop.Application.start/2 starts\n"
    assert output =~ "    {Penstock.Pool, name: Shop.Jobs, limit: 100}\n"

    File.rm!(Path.join(dir, "lib/tree.ex"))
    assert {output, 0} = install(dir)
    assert output =~ "Shop.Application: put the pool first in the list of children that it starts\n"
  end

  test "a project without a tree is told how to get one", %{tmp_dir: dir} do
    write(dir, [{"mix.exs", mix_exs("corner_shop", @here, "extra_applications: [:logger]")}])
    assert {output, 0} = install(dir)
    assert output =~ "mix.exs:6: this project starts no processes yet; add to `application`\n"
    assert output =~ "    mod: {CornerShop.Application, []}\n"
    assert output =~ "lib/corner_shop/application.ex: write this file\n"
    [_before, file] = String.split(output, "write this file\n\n")
    [module, _after] = String.split(file, "\n\nStart work")
    assert {:ok, %{list: %{}, named: [%{name: "CornerShop.Jobs"}]}} = Tree.read(module, "CornerShop.Application")
  end

  test "a mix.exs that does not name Penstock gets the entry by which the project has it", %{tmp_dir: dir} do
    core = ~s({:core, path: "core"})
    git = ~s({:penstock, git: "https://example.com/penstock.git"})
    lock = ~s(%{"penstock": {:git, "https://example.com/penstock.git", "#{String.duplicate("a", 40)}", []}})

    for {in_core, lock, shown} <- [
          {@here, "%{}", "mix.exs:8: add to `deps`\n\n    {:penstock, path: \"#{File.cwd!()}\"}\n"},
          {git, lock, "mix.exs:8: add to `deps`\n\n    #{git}\n"},
          {"", "%{}", "mix.exs does not name Penstock: add it to `deps`"}
        ] do
      write(dir, [
        {"mix.exs", mix_exs("shop", core)},
        {"mix.lock", lock},
        {"core/mix.exs", mix_exs("core", in_core, "")},
        {"lib/shop/application.ex", @application}
      ])

      assert {output, 0} = install(dir)
      assert output =~ shown
    end
  end

  test "the root of an umbrella is an error that says where to run the task", %{tmp_dir: dir} do
    root = "defmodule Root.MixProject do\n  use Mix.Project\n  def project, do: [apps_path: \"apps\", deps: []]\nend\n"
    write(dir, [{"mix.exs", root}, {"apps/core/mix.exs", mix_exs("core", "", "")}])
    assert {output, 1} = install(dir)
    assert output =~ "this is the root of an umbrella: run this task in the application that needs the pool; none has"

    write(dir, [{"apps/shop/mix.exs", mix_exs("shop", "")}])
    assert {output, 1} = install(dir)
    assert output =~ "this is the root of an umbrella: run this task in the application that needs the pool:\n"
    assert output =~ "    (cd apps/shop && mix penstock.install)\n"
    refute output =~ "apps/core"
  end

  test "wrong arguments, and no project, are errors that say what is wrong", %{tmp_dir: dir} do
    write(dir, [{"project/mix.exs", mix_exs("shop", @here)}, {"project/lib/shop/application.ex", @application}])

    for {args, message} <- [
          {["--limit", "0"], "expected --limit to be an integer between 1 and 2147483647, got: 0"},
          {["--limit", "many"], ~s(--limit cannot be "many")},
          {["--name", "jobs"], ~s(expected --name to be the name of a module, such as MyApp.Jobs, got: "jobs")},
          {["--limt", "3"], "unknown option, or an option without its value: --limt"},
          {["--name"], "unknown option, or an option without its value: --name"},
          {["Shop.Jobs"], ~s(this task takes options only, got: "Shop.Jobs")}
        ] do
      assert {output, 1} = install(Path.join(dir, "project"), args)
      assert output =~ message
    end

    File.mkdir_p!(Path.join(dir, "empty"))
    assert {output, 1} = install(Path.join(dir, "empty"))
    assert output =~ "there is no mix.exs here"
  end

  test "the functions that Igniter calls are there" do
    task = Mix.Tasks.Penstock.Install
    assert Mix.Task.get("penstock.install") == task
    assert {true, false} == {task.installer?(), task.supports_umbrella?()}
    for {name, arity} <- [igniter: 1, info: 2, parse_argv: 1], do: assert(function_exported?(task, name, arity))
  end
end
