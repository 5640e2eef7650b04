defmodule Mix.Tasks.Penstock.InstallTest do
  # Runs the task in projects of their own, each in a VM of its own, as a user would. No Igniter is there;
  # test/integration/install has the tests with it.
  use ExUnit.Case, async: true

  alias Penstock.ChildVM
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

  # Runs the task once for each `{dir, args}`, all in one VM. The projects of different folders need
  # different names.
  @runs ~S"""
  Mix.start()
  Mix.shell(Mix.Shell.Process)

  for {dir, args} <- runs do
    run = fn _project ->
      Mix.Tasks.Penstock.Install.run(args)
      receive do: ({:mix_shell, :info, [text]} -> text)
    end

    try do
      Mix.Project.in_project(:"project_of_#{dir}", dir, run)
    rescue
      error in Mix.Error -> {:error, error.message}
    end
  end
  """

  defp install(dir, args \\ []), do: [{dir, args}] |> installs() |> hd()

  defp installs(runs) do
    {outputs, _binding} = ChildVM.run(Code, :eval_string, [@runs, [runs: runs]])
    outputs
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
    named = ["--name", "Shop.Mail", "--limit", "20000", "--yes", "--dry-run"]
    assert [output, other] = installs([{dir, []}, {dir, named}])

    assert output =~ """
           This project has no Igniter from 0.6.16 on, so nothing was written. What to do:

           lib/shop/application.ex:6: start the pool first in the tree of Shop.Application

                     children = [
               +       {Penstock.Pool, name: Shop.Jobs, limit: 100},
                       Shop.Repo,
           """

    refute output =~ "mix.exs"
    assert other =~ "    +       {Penstock.Pool, name: Shop.Mail, limit: 20_000},\n"
    assert files(dir) == before
  end

  test "the lines that are printed make a project that has the pool, and a second run says so", %{tmp_dir: dir} do
    lists = ["[]", "[Shop.Repo]", "[Shop.Repo] ++ []", "[\n      # none\n    ]", "[Shop.Repo,\n Shop.Web]"]

    projects =
      for {list, number} <- Enum.with_index(lists) do
        dir = Path.join(dir, "#{number}")
        application = String.replace(@application, ~r/\[\s+Shop.Repo,\s+Shop.Web\s+\]/, list)
        write(dir, [{"mix.exs", mix_exs("shop_#{number}", @here)}, {"lib/shop/application.ex", application}])
        {dir, application}
      end

    runs = for {dir, _application} <- projects, do: {dir, []}

    for {{dir, application}, output} <- Enum.zip(projects, installs(runs)) do
      changed = follow(application, output)
      assert {:ok, %{named: [%{name: "Shop.Jobs"}]}} = Tree.read(changed, "Shop.Application")
      write(dir, [{"lib/shop/application.ex", changed}])
    end

    for output <- installs(runs),
        do: assert(output =~ ~r/\Alib\/shop\/application.ex:\d+ has the pool Shop.Jobs: nothing is to do there.\z/)
  end

  # Does to the text what the output says, as a person would.
  defp follow(text, output) do
    [line] = Regex.run(~r/^lib\S+:(\d+): start the pool first/m, output, capture: :all_but_first)
    [added] = Regex.run(~r/^    \+ (.*)$/m, output, capture: :all_but_first)
    {before, [at | rest]} = text |> String.split("\n") |> Enum.split(String.to_integer(line) - 1)
    replaced? = output =~ "    - " <> at
    Enum.join(before ++ if(replaced?, do: [], else: [at]) ++ [added] ++ rest, "\n")
  end

  test "a name that another child has is an error", %{tmp_dir: dir} do
    application = String.replace(@application, "Shop.Web", "{Penstock.Gate, name: Shop.Jobs, limits: []}")
    write(dir, [{"mix.exs", mix_exs("shop", @here)}, {"lib/shop/application.ex", application}])
    assert [{:error, message}, other] = installs([{dir, []}, {dir, ["--name", "Shop.Others"]}])

    assert message ==
             "lib/shop/application.ex:8: a Penstock.Gate has the name Shop.Jobs; give the pool another by --name"

    assert other =~ "{Penstock.Pool, name: Shop.Others, limit: 100},"
  end

  test "other shapes of an application module are named, with the line to add", %{tmp_dir: dir} do
    application = "defmodule Shop.Application do\n  def start(_type, _args), do: Shop.Tree.start_link()\nend\n"
    write(dir, [{"a/mix.exs", mix_exs("shop", @here)}, {"a/lib/tree.ex", application}])
    write(dir, [{"b/mix.exs", mix_exs("other", @here)}])
    assert [shape, no_file] = installs([{Path.join(dir, "a"), []}, {Path.join(dir, "b"), []}])
    assert shape =~ "lib/tree.ex:2: put the pool first in the list of children that Shop.Application.start/2 starts\n"
    assert shape =~ "    {Penstock.Pool, name: Shop.Jobs, limit: 100}\n"
    assert no_file =~ "Shop.Application: put the pool first in the list of children that it starts\n"
  end

  test "files that are no text, and directories with the name of a file, are left out", %{tmp_dir: dir} do
    write(dir, %{
      "mix.exs" => mix_exs("shop", ""),
      "lib/a.ex/none" => "",
      "lib/b.ex" => <<"defmodule B do ", 0xE9, " end">>,
      "lib/shop.ex" => @application
    })

    assert install(dir) =~ "lib/shop.ex:6: start the pool first in the tree of Shop.Application"
  end

  test "a project without a tree is told how to get one", %{tmp_dir: dir} do
    write(dir, [{"mix.exs", mix_exs("corner_shop", @here, "extra_applications: [:logger]")}])
    assert output = install(dir)
    assert output =~ "mix.exs:6: this project starts no processes yet; add to `application`\n"
    assert output =~ "    mod: {CornerShop.Application, []}\n"
    assert output =~ "lib/corner_shop/application.ex: write this file\n"
    [_before, file] = String.split(output, "write this file\n\n")
    [module, _after] = String.split(file, "\n\nStart work")
    assert {:ok, %{list: %{}, named: [%{name: "CornerShop.Jobs"}]}} = Tree.read(module, "CornerShop.Application")
  end

  test "a mix.exs that does not name Penstock gets the entry by which the project has it", %{tmp_dir: dir} do
    git = ~s({:penstock, git: "https://example.com/penstock.git"})
    lock = ~s(%{"penstock": {:git, "https://example.com/penstock.git", "#{String.duplicate("a", 40)}", []}})
    release = ~s(%{"penstock": {:hex, :penstock, "1.2.3", "aa", [:mix], [], "hexpm", "bb"}})

    cases = [
      {"by_path", @here, "%{}", "mix.exs:8: add to `deps`\n\n    {:penstock, path: \"#{File.cwd!()}\"}\n"},
      {"by_git", git, lock, "mix.exs:8: add to `deps`\n\n    #{git}\n"},
      {"by_release", git, release, ~s(    {:penstock, "~> 1.2"}\n)},
      {"unlocked", git, "%{}", "mix.exs does not name Penstock: add it to `deps`"},
      {"unknown", "", "%{}", "mix.exs does not name Penstock: add it to `deps`"}
    ]

    for {name, in_core, lock, _shown} <- cases do
      write(Path.join(dir, name), [
        {"mix.exs", mix_exs(name, ~s({:core_#{name}, path: "core"}))},
        {"mix.lock", lock},
        {"core/mix.exs", mix_exs("core_#{name}", in_core, "")},
        {"lib/shop/application.ex", @application}
      ])
    end

    outputs = installs(for {name, _in_core, _lock, _shown} <- cases, do: {Path.join(dir, name), []})
    for {{_name, _in_core, _lock, shown}, output} <- Enum.zip(cases, outputs), do: assert(output =~ shown)
  end

  test "the root of an umbrella is an error that says where to run the task", %{tmp_dir: dir} do
    root = ~s(use Mix.Project\n  def project, do: [apps_path: "apps", deps: []]\nend\n)

    write(dir, [{"a/mix.exs", "defmodule A.MixProject do\n  #{root}"}, {"a/apps/core/mix.exs", mix_exs("core", "", "")}])

    write(dir, [{"b/mix.exs", "defmodule B.MixProject do\n  #{root}"}, {"b/apps/bank/mix.exs", mix_exs("bank", "", "")}])

    write(dir, [{"b/apps/shop/mix.exs", mix_exs("shop", "")}])
    assert [{:error, none}, {:error, one}] = installs([{Path.join(dir, "a"), []}, {Path.join(dir, "b"), []}])
    start = "this is the root of an umbrella: run this task in the application that needs the pool"
    assert none == start <> "; none has a supervision tree yet"
    assert one == start <> ":\n    (cd apps/shop && mix penstock.install)"
  end

  test "wrong arguments are errors that say what is wrong", %{tmp_dir: dir} do
    write(dir, [{"mix.exs", mix_exs("shop", @here)}, {"lib/shop/application.ex", @application}])

    cases = [
      {["--limit", "0"], "expected --limit to be an integer between 1 and 2147483647, got: 0"},
      {["--limit", "many"], ~s(--limit cannot be "many")},
      {["--name", "jobs"], ~s(expected --name to be the name of a module, such as MyApp.Jobs, got: "jobs")},
      {["--limt", "3"], "unknown option, or an option without its value: --limt"},
      {["--name"], "unknown option, or an option without its value: --name"},
      {["Shop.Jobs"], ~s(this task takes options only, got: "Shop.Jobs")}
    ]

    assert installs(for {args, _message} <- cases, do: {dir, args}) ==
             for({_args, message} <- cases, do: {:error, message})
  end

  test "the command of a user: output and exit status", %{tmp_dir: dir} do
    write(dir, [{"shop/mix.exs", mix_exs("shop", @here)}, {"shop/lib/shop/application.ex", @application}])
    ebin = Tree |> :code.which() |> Path.dirname()
    task = ["-pa", ebin, "-e", "Mix.start(); Mix.CLI.main()", "penstock.install"]
    assert {output, 0} = System.cmd("elixir", task, cd: Path.join(dir, "shop"), stderr_to_stdout: true)
    assert output =~ "{Penstock.Pool, name: Shop.Jobs, limit: 100},\n"
    assert {output, 1} = System.cmd("elixir", task, cd: dir, stderr_to_stdout: true)
    assert output =~ "there is no mix.exs here: run this task in a Mix project"
  end

  test "the functions that Igniter calls are there" do
    task = Mix.Tasks.Penstock.Install
    assert Mix.Task.get("penstock.install") == task
    assert {true, false} == {task.installer?(), task.supports_umbrella?()}
    for {name, arity} <- [igniter: 1, info: 2, parse_argv: 1], do: assert(function_exported?(task, name, arity))
  end
end
