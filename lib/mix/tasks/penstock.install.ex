defmodule Mix.Tasks.Penstock.Install do
  @shortdoc "Adds a pool to the supervision tree of the project"

  @moduledoc """
  Adds a pool to the supervision tree of the project, and Penstock to its `mix.exs`.

      mix penstock.install [--name NAME] [--limit LIMIT]

  With [Igniter](https://hex.pm/packages/igniter) in the project, 0.6.16 or newer, the task shows the
  change and asks before it writes. Without Igniter it writes nothing: it prints the lines for this project, and the
  files and lines where they go.

      $ mix penstock.install --limit 200
      lib/my_app/application.ex:10: start the pool first in the tree of MyApp.Application

          +       {Penstock.Pool, name: MyApp.Jobs, limit: 200},

  The pool becomes the first child, so that it stops after all processes that use it. A second run
  changes nothing, and says so. In an umbrella, run the task in the application that needs the pool.

  `mix igniter.install penstock` adds the dependency and then runs this task.

  ## Options

    * `--name NAME` - the name of the pool, an alias. Default: `Jobs` in the namespace of the
      application, such as `MyApp.Jobs`
    * `--limit LIMIT` - how many permits the pool has, an integer from 1. Default 100

  With Igniter, its own options such as `--yes` and `--dry-run` work too. Where another installer has
  an option of the same name, write `--penstock.name` and `--penstock.limit`.
  """

  use Mix.Task

  alias Penstock.Install.{Advice, Patch, Project, Settings, Tree}
  alias Penstock.Options

  @switches [name: :string, limit: :integer]

  # Options of Igniter that are no error without it, because nothing is written anyway.
  @ignored [yes: :boolean, dry_run: :boolean]

  @impl true
  def run(argv) do
    cond do
      "--help" in argv -> Mix.Task.run("help", [Mix.Task.task_name(__MODULE__)])
      Mix.Project.get() == nil -> Mix.raise("there is no mix.exs here: run this task in a Mix project")
      Mix.Project.umbrella?() -> Mix.raise(umbrella())
      Patch.available?() -> patch(argv)
      true -> argv |> parse() |> explain()
    end
  end

  # The functions below are what Igniter calls of a task. They are no callbacks of a behaviour here,
  # because Igniter may not be there when Penstock is compiled.
  @doc false
  def installer?, do: true

  @doc false
  def supports_umbrella?, do: false

  @doc false
  def info(_argv, _composing_task), do: Patch.info(@switches, "mix penstock.install --name MyApp.Jobs --limit 100")

  @doc false
  def parse_argv(argv), do: Patch.parse_argv(__MODULE__, argv)

  @doc false
  def igniter(igniter), do: Patch.install(igniter)

  defp patch(argv) do
    with :issues <- Patch.run(__MODULE__, argv), do: exit({:shutdown, 1})
  end

  defp parse(argv) do
    case OptionParser.parse(argv, strict: @switches ++ @ignored) do
      {opts, [], []} -> opts
      {_opts, _rest, [{option, nil} | _]} -> Mix.raise("unknown option, or an option without its value: #{option}")
      {_opts, _rest, [{option, value} | _]} -> Mix.raise("#{option} cannot be #{Options.show(value)}")
      {_opts, [argument | _], []} -> Mix.raise(Settings.argument(argument))
    end
  end

  defp explain(opts) do
    application = Project.application_module()
    app = Mix.Project.config()[:app]
    prefix = Project.prefix(application, app)
    settings = ok!(Settings.read(opts, prefix))
    mix_exs = with {:ok, text} <- File.read("mix.exs"), do: text, else: (_error -> nil)
    dependency = Advice.dependency(Project.dependency(), mix_exs)

    case application && child(settings, application) do
      {:present, message} when dependency == nil -> say([message])
      {:present, message} -> say([dependency, message])
      {:absent, step} -> say([unwritten(), dependency, step, Advice.use(settings)])
      {:taken, message} -> Mix.raise(message)
      nil -> say([unwritten(), dependency, Advice.tree(settings, prefix, app, mix_exs), Advice.use(settings)])
    end
  end

  defp child(settings, application) do
    with {path, text} <- Project.source(application),
         {:ok, tree} = Tree.read(text, inspect(application)),
         :absent <- Advice.named(settings, path, tree) do
      {:absent, Advice.child(settings, application, {path, text, tree})}
    else
      nil -> {:absent, Advice.child(settings, application)}
      found -> found
    end
  end

  defp ok!({:ok, value}), do: value
  defp ok!({:error, message}), do: Mix.raise(message)

  defp unwritten, do: "This project has no Igniter from 0.6.16 on, so nothing was written. What to do:"

  defp say(parts), do: parts |> Enum.reject(&is_nil/1) |> Enum.join("\n\n") |> Mix.shell().info()

  defp umbrella do
    start = "this is the root of an umbrella: run this task in the application that needs the pool"

    case Project.umbrella_apps() do
      [] ->
        start <> "; none has a supervision tree yet"

      apps ->
        start <> ":\n" <> Enum.map_join(apps, "\n", fn {_app, path} -> "    (cd #{path} && mix penstock.install)" end)
    end
  end
end
