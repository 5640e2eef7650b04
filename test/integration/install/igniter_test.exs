# mix penstock.install with the real Igniter, on projects in memory. Runs with PENSTOCK_EBIN, see
# CONTRIBUTING.md.
if Code.ensure_loaded?(Igniter.Test) do
  defmodule Penstock.Integration.IgniterTest do
    use ExUnit.Case, async: false

    import Igniter.Test

    @moduletag :igniter

    # Mix consolidates the protocols without those libraries that only PENSTOCK_EBIN names.
    setup_all do
      Code.delete_path(Mix.Project.consolidation_path())

      for protocol <- [Enumerable, Collectable, Inspect, String.Chars] do
        :code.purge(protocol)
        true = :code.delete(protocol)
        {:module, _} = Code.ensure_loaded(protocol)
      end

      {:ok, _apps} = Application.ensure_all_started(:rewrite)
      :ok
    end

    @application """
    defmodule Test.Application do
      use Application

      @impl true
      def start(_type, _args) do
        children = [
          Test.Repo
        ]

        Supervisor.start_link(children, strategy: :one_for_one)
      end
    end
    """

    @mix_exs """
    defmodule Test.MixProject do
      use Mix.Project

      def project do
        [
          app: :test,
          deps: deps()
        ]
      end

      def application do
        [
          mod: {Test.Application, []}
        ]
      end

      defp deps do
        [
          {:penstock, "~> 0.1"}
        ]
      end
    end
    """

    defp project(files \\ %{}) do
      test_project(files: Map.merge(%{"mix.exs" => @mix_exs, "lib/test/application.ex" => @application}, files))
    end

    defp install(igniter, args \\ []), do: Igniter.compose_task(igniter, "penstock.install", args)

    test "the pool becomes the first child, and mix.exs stays" do
      igniter = project() |> install()

      igniter
      |> assert_has_patch("lib/test/application.ex", """
      + |      {Penstock.Pool, [name: Test.Jobs, limit: 100]},
        |      Test.Repo
      """)
      |> assert_unchanged("mix.exs")

      assert [notice] = igniter.notices
      assert notice =~ "Penstock.spawn(Test.Jobs, fun)"
    end

    test "name and limit, also with the prefix of the task" do
      for args <- [["--name", "Test.Mail", "--limit", "7"], ["--penstock.name", "Test.Mail", "--penstock.limit", "7"]] do
        project()
        |> install(args)
        |> assert_has_patch("lib/test/application.ex", "+ |      {Penstock.Pool, [name: Test.Mail, limit: 7]},")
      end
    end

    test "a second run changes nothing and says so; another name is a second pool" do
      igniter = project() |> install() |> apply_igniter!()
      again = install(igniter)
      assert_unchanged(again)
      assert ["lib/test/application.ex:7 has the pool Test.Jobs: nothing is to do there."] = again.notices

      igniter
      |> install(["--name", "Test.Mail"])
      |> assert_has_patch("lib/test/application.ex", """
      + |      {Penstock.Pool, [name: Test.Mail, limit: 100]},
        |      {Penstock.Pool, [name: Test.Jobs, limit: 100]},
      """)
    end

    test "mix.exs is left alone if the origin of Penstock is unknown, and the warning says so" do
      igniter = project(%{"mix.exs" => String.replace(@mix_exs, ~s({:penstock, "~> 0.1"}), "")}) |> install()
      assert_unchanged(igniter, "mix.exs")
      assert ["mix.exs does not name Penstock: add it to `deps`" <> _rest] = igniter.warnings
      assert_has_patch(igniter, "lib/test/application.ex", "+ |      {Penstock.Pool, [name: Test.Jobs, limit: 100]},")
    end

    test "a project without a tree gets one" do
      mix_exs = String.replace(@mix_exs, "mod: {Test.Application, []}", "extra_applications: [:logger]")

      test_project(files: %{"mix.exs" => mix_exs})
      |> install()
      |> assert_has_patch("mix.exs", "+ |      mod: {Test.Application, []}")
      |> assert_creates("lib/test/application.ex")
      |> apply_igniter!()
      |> install()
      |> assert_unchanged()
    end

    test "a list that Igniter does not know is left alone, and the warning says what to do" do
      text = "defmodule Test.Application do\n  def start(_, _), do: Supervisor.start_link([Test.Repo], [])\nend\n"
      igniter = project(%{"lib/test/application.ex" => text}) |> install()
      assert_unchanged(igniter)
      assert [warning] = igniter.warnings
      assert warning =~ "lib/test/application.ex:2: start the pool first in the tree of Test.Application"
      assert warning =~ "Supervisor.start_link([{Penstock.Pool, name: Test.Jobs, limit: 100}, Test.Repo], [])"

      text = "defmodule Test.Application do\n  def start(_, _), do: Test.Tree.start_link()\nend\n"
      igniter = project(%{"lib/test/application.ex" => text}) |> install()
      assert_unchanged(igniter)
      assert [warning] = igniter.warnings
      assert warning =~ "put the pool first in the list of children that Test.Application.start/2 starts"
    end

    test "a name that is taken, and nonsense, are issues that say what is wrong" do
      taken = String.replace(@application, "Test.Repo", "{Penstock.RateLimiter, name: Test.Jobs, limit: 1, per: 1}")
      igniter = project(%{"lib/test/application.ex" => taken}) |> install()
      assert_unchanged(igniter)
      assert [issue] = igniter.issues
      assert issue =~ "lib/test/application.ex:7: a Penstock.RateLimiter has the name Test.Jobs"

      for {args, message} <- [
            {["--limit", "0"], "expected --limit to be an integer between 1 and 2147483647, got: 0"},
            {["--name", "jobs"], ~s(expected --name to be the name of a module, such as MyApp.Jobs, got: "jobs")}
          ] do
        igniter = project() |> install(args)
        assert_unchanged(igniter)
        assert igniter.issues == [message]
      end
    end

    test "Igniter takes the task for an installer" do
      task = Mix.Task.get("penstock.install")
      assert Igniter.Mix.Task.igniter_task?(task)
      assert %Igniter.Mix.Task.Info{schema: [name: :string, limit: :integer]} = task.info([], nil)
      assert %Igniter.Mix.Task.Args{options: [limit: 3, example: true]} = task.parse_argv(["--limit", "3", "--example"])
    end
  end
end
