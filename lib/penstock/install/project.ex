defmodule Penstock.Install.Project do
  # Facts of the current Mix project that `mix penstock.install` needs.
  @moduledoc false

  alias Penstock.Install.Tree

  @doc "The module that starts the supervision tree, or `nil` if the project has none."
  @spec application_module() :: module | nil
  def application_module, do: started_by(Mix.Project.get!())

  defp started_by(project) do
    with true <- function_exported?(project, :application, 0),
         {module, _arg} when is_atom(module) <- project.application()[:mod] do
      module
    else
      _none -> nil
    end
  end

  @doc "The namespace of the project, such as \"MyApp\"."
  @spec prefix(module | nil, atom) :: String.t()
  def prefix(application, app) do
    case application && inspect(application) do
      <<first, _rest::binary>> = name when first in ?A..?Z ->
        case String.split(name, ".") do
          [one] -> one
          parts -> parts |> Enum.drop(-1) |> Enum.join(".")
        end

      _no_elixir_module ->
        app |> Atom.to_string() |> Macro.camelize()
    end
  end

  @doc "Finds the source file of a module. Returns its path and text."
  @spec source(module) :: {Path.t(), String.t()} | nil
  def source(module) do
    name = inspect(module)

    Mix.Project.config()[:elixirc_paths]
    |> Enum.flat_map(&Path.wildcard(Path.join(&1, "**/*.ex")))
    # The usual place comes first, so that few files are read.
    |> Enum.sort_by(&(not String.ends_with?(&1, "/application.ex")))
    |> Enum.find_value(fn path ->
      # A name that ends in .ex may be that of a directory.
      with {:ok, text} <- File.read(path),
           {:ok, _tree} <- Tree.read(text, name),
           do: {path, text},
           else: (_other -> nil)
    end)
  end

  @doc """
  The entry of `deps` that names Penstock as this project gets it through another dependency.

  Returns `:present` if `deps` names it already, and `nil` if its origin is not known.
  """
  @spec dependency() :: :present | String.t() | nil
  def dependency do
    if Enum.any?(Mix.Project.config()[:deps] || [], &(is_tuple(&1) and elem(&1, 0) == :penstock)),
      do: :present,
      else: origin(Mix.Project.deps_scms()[:penstock])
  end

  defp origin(nil), do: nil
  defp origin(Mix.SCM.Path), do: entry(path: Path.relative_to_cwd(Mix.Project.deps_paths()[:penstock]))
  defp origin(_scm), do: locked(Mix.Project.config()[:lockfile])

  # The lock is a literal map, and its values are tuples. A release gives a requirement, such as "~> 1.2".
  defp locked(lockfile) do
    with {:ok, text} <- File.read(lockfile),
         {:ok, quoted} <- Code.string_to_quoted(text),
         {:%{}, _, pairs} <- quoted,
         {_name, {:{}, _, [kind | rest]}} <- List.keyfind(pairs, :penstock, 0, :none) do
      entry(kind, rest)
    else
      _unknown -> nil
    end
  end

  defp entry(:git, [url | _rest]) when is_binary(url), do: entry(git: url)

  defp entry(:hex, [_name, version | _rest]) when is_binary(version) do
    case Version.parse(version) do
      {:ok, %{major: major, minor: minor}} -> "{:penstock, \"~> #{major}.#{minor}\"}"
      :error -> nil
    end
  end

  defp entry(_kind, _rest), do: nil
  defp entry(opts), do: "{:penstock, #{opts |> inspect() |> String.slice(1..-2//1)}}"

  @doc "The applications of an umbrella that have a supervision tree, with their folders."
  @spec umbrella_apps() :: [{atom, Path.t()}]
  def umbrella_apps do
    for {app, path} <- Enum.sort(Mix.Project.apps_paths()),
        Mix.Project.in_project(app, path, fn project -> started_by(project) != nil end),
        do: {app, path}
  end
end
