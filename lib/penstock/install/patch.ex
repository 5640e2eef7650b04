defmodule Penstock.Install.Patch do
  # Changes the project by Igniter, which is no dependency of Penstock: it is met at run time, by the
  # functions that `use Igniter.Mix.Task` would call. Igniter shows the change before it writes.
  @moduledoc false

  alias Penstock.Install.{Advice, Project, Settings, Tree}

  @compile {:no_warn_undefined,
            [
              Igniter,
              Igniter.Mix.Task,
              Igniter.Mix.Task.Info,
              Igniter.Project.Application,
              Igniter.Project.Deps,
              Igniter.Project.Module,
              Igniter.Util.Info,
              Rewrite.Source,
              Sourceror
            ]}

  @doc "Whether Igniter is there, in a version that has the functions that this module calls: 0.6.16 or newer."
  @spec available?() :: boolean
  def available? do
    Code.ensure_loaded?(Igniter.Mix.Task) and function_exported?(Igniter.Mix.Task, :__options__!, 2)
  end

  @doc "Runs the Mix task `task` as Igniter runs its own."
  @spec run(module, [String.t()]) :: term
  def run(task, argv) do
    Mix.Task.run("compile")
    {:ok, _apps} = Application.ensure_all_started(:rewrite)
    name = Mix.Task.task_name(task)
    global = Igniter.Mix.Task.Info.global_options()[:switches]
    info = Map.update!(task.info(argv, nil), :schema, &Keyword.merge(&1, global))
    {opts, rest} = Igniter.Util.Info.validate!(argv, info, name)
    with [argument | _] <- rest, do: Mix.raise(Settings.argument(argument))
    igniter = %{Igniter.new() | task: name} |> Igniter.Mix.Task.configure_and_run(task, argv)
    Igniter.do_or_dry_run(igniter, Keyword.put(opts, :yes, igniter.args.options[:yes]))
  end

  @doc "The description of the task, a struct of Igniter."
  @spec info(keyword, String.t()) :: struct
  def info(switches, example) do
    struct!(Igniter.Mix.Task.Info, group: :penstock, schema: switches, example: example)
  end

  @doc "The arguments of the task, a struct of Igniter. Options of other tasks are no error."
  @spec parse_argv(module, [String.t()]) :: struct
  def parse_argv(task, argv) do
    {positional, flags} = Igniter.Mix.Task.__positional_args__!(task, argv)
    options = Igniter.Mix.Task.__options__!(task, flags)
    struct!(Igniter.Mix.Task.Args, positional: positional, options: options, argv: argv, argv_flags: flags)
  end

  @doc "Adds the pool to the project of `igniter`."
  @spec install(struct) :: struct
  def install(igniter) do
    application = application(igniter)
    prefix = Project.prefix(application, Igniter.Project.Application.app_name(igniter))

    case Settings.read(igniter.args.options, prefix) do
      {:ok, settings} -> igniter |> dependency() |> child(settings, application)
      {:error, message} -> Igniter.add_issue(igniter, message)
    end
  end

  defp application(igniter) do
    with {module, _arg} <- Igniter.Project.Application.app_module(igniter), do: module
  end

  defp dependency(igniter) do
    case {Igniter.Project.Deps.get_dep(igniter, :penstock), Project.dependency()} do
      {{:ok, "" <> _entry}, _origin} ->
        igniter

      {_unreadable, :present} ->
        igniter

      {_absent, nil} ->
        Igniter.add_warning(igniter, Advice.dependency(nil, nil))

      {_absent, entry} ->
        Igniter.Project.Deps.add_dep(igniter, entry |> Code.eval_string() |> elem(0), on_exists: :skip)
    end
  end

  defp child(igniter, settings, nil), do: add(igniter, settings)

  defp child(igniter, settings, application) do
    case Igniter.Project.Module.find_module(igniter, application) do
      {:ok, {igniter, source, _zipper}} ->
        path = Rewrite.Source.get(source, :path)
        text = Rewrite.Source.get(source, :content)
        child(igniter, settings, application, {path, text, Tree.read(text, inspect(application))})

      {:error, igniter} ->
        Igniter.add_warning(igniter, Advice.child(settings, application))
    end
  end

  defp child(igniter, settings, _application, {_path, _text, :error}), do: add(igniter, settings)

  defp child(igniter, settings, application, {path, text, {:ok, tree}}) do
    case {Advice.named(settings, path, tree), tree.list} do
      {{:present, message}, _list} -> Igniter.add_notice(igniter, message)
      {{:taken, message}, _list} -> Igniter.add_issue(igniter, message)
      {:absent, %{variable?: true}} -> add(igniter, settings)
      # Igniter knows no other place than the variable `children`.
      {:absent, _list} -> Igniter.add_warning(igniter, Advice.child(settings, application, {path, text, tree}))
    end
  end

  # A pool of another name is no reason to leave this one out, hence `force?`.
  defp add(igniter, settings) do
    {_curly, _meta, [{_module, options}]} = Sourceror.parse_string!(Settings.child(settings))

    igniter
    |> Igniter.Project.Application.add_new_child({Penstock.Pool, {:code, options}}, force?: true)
    |> Igniter.add_notice(Advice.use(settings))
  end
end
