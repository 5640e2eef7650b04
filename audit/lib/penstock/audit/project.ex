defmodule Penstock.Audit.Project do
  @moduledoc false
  # Which files belong to an audit.
  #
  # A unit is compiled at once: a Mix project, with the children of an umbrella, or files that belong
  # to no project.

  alias Penstock.Audit.MixFile

  defstruct root: nil, apps: [], files: [], only: nil, skipped: []

  @type t :: %__MODULE__{
          root: String.t() | nil,
          apps: [String.t()],
          files: [String.t()],
          only: nil | [String.t()],
          skipped: [%{path: String.t(), why: String.t()}]
        }

  @sources ["lib", "web"]
  # These configure a project. They are read with it, so that the audit is of the project.
  @configuration ["config", "rel", "mix.exs"]
  @erlang ["src/**/*.erl", "src/**/*.yrl", "src/**/*.xrl"]

  @doc "Returns `{:ok, units}` for files and directories, or `{:error, message}`."
  @spec find([String.t()]) :: {:ok, [t]} | {:error, String.t()}
  def find(paths) do
    case Enum.reject(paths, &File.exists?/1) do
      [] -> {:ok, paths |> Enum.map(&unit(Path.expand(&1))) |> merge()}
      [path | _] -> {:error, "#{path}: no such file or directory"}
    end
  end

  defp unit(path) do
    cond do
      mix_project?(path) -> project(path, nil)
      root = root(path) -> project(root, [path])
      File.dir?(path) -> loose(wildcard(path, "**/*.ex"), erlang(path, ["**/*.erl"]))
      Path.extname(path) in [".ex", ".exs"] -> loose([path], [])
      true -> loose([], [%{path: path, why: "not Elixir"}])
    end
  end

  defp loose(files, skipped), do: %__MODULE__{files: files, skipped: skipped}

  @doc "Returns the directory of the unit's project, and those of an umbrella's children; none for loose files."
  @spec roots(t) :: [String.t()]
  def roots(%{root: nil}), do: []
  def roots(%{root: root}), do: [root | children(root)]

  defp children(root), do: root |> wildcard("apps/*/mix.exs") |> Enum.map(&Path.dirname/1)

  @doc "Returns the directory of a project and, for a child of an umbrella, that of the umbrella."
  @spec enclosing(String.t()) :: [String.t()]
  def enclosing(root) do
    umbrella = Path.expand("../..", root)
    child? = Path.basename(Path.dirname(root)) == "apps" and mix_project?(umbrella)
    if child?, do: [root, umbrella], else: [root]
  end

  @doc "Returns the files below `root` that match a pattern. The name of `root` is no pattern."
  @spec wildcard(String.t(), String.t(), keyword) :: [String.t()]
  def wildcard(root, pattern, opts \\ []) do
    root |> String.replace(~r/[\[\]{},*?\\]/, "\\\\\\0") |> Path.join(pattern) |> Path.wildcard(opts)
  end

  defp project(root, only) do
    children = children(root)
    roots = [root | children]

    %__MODULE__{
      root: root,
      apps: Enum.map(children, &Path.basename/1) ++ own(root),
      files: Enum.flat_map(roots, &sources/1),
      only: only,
      skipped: Enum.flat_map(roots, &erlang(&1, @erlang))
    }
  end

  defp sources(root),
    do: root |> directories() |> Enum.flat_map(&(root |> Path.join(&1) |> wildcard("**/*.ex"))) |> Enum.uniq()

  defp directories(root), do: Enum.uniq(@sources ++ (root |> MixFile.read() |> MixFile.sources()))

  defp erlang(root, patterns) do
    for pattern <- patterns, path <- wildcard(root, pattern), do: %{path: path, why: "an Erlang source"}
  end

  defp own(root), do: root |> MixFile.read() |> MixFile.app() |> List.wrap()

  # A file belongs to the project above it if the project compiles it. The outermost such
  # project counts, for example an umbrella.
  defp root(path) do
    path
    |> Path.split()
    |> Enum.scan(&Path.join(&2, &1))
    |> Enum.drop(-1)
    |> Enum.find(&(mix_project?(&1) and within?(path, &1)))
  end

  defp within?(path, root) do
    below?(path, root, directories(root) ++ @configuration) or
      Enum.any?(children(root), &(path == &1 or below?(path, &1, directories(&1) ++ @configuration)))
  end

  defp below?(path, root, names) do
    Enum.any?(names, fn name ->
      directory = Path.expand(name, root)
      path == directory or String.starts_with?(path, directory <> "/")
    end)
  end

  defp mix_project?(path), do: File.regular?(Path.join(path, "mix.exs"))

  defp merge(units) do
    {loose, projects} = Enum.split_with(units, &(&1.root == nil))

    projects =
      projects
      |> Enum.group_by(& &1.root)
      |> Enum.map(fn {_root, [first | _] = same} ->
        only = if Enum.any?(same, &(&1.only == nil)), do: nil, else: Enum.flat_map(same, & &1.only)
        %{first | only: only}
      end)
      |> adopt()

    case loose do
      [] ->
        projects

      loose ->
        projects ++ [loose(loose |> Enum.flat_map(& &1.files) |> Enum.uniq(), Enum.flat_map(loose, & &1.skipped))]
    end
  end

  # The child of an umbrella that is audited too is a part of it.
  defp adopt(projects) do
    for project <- projects, parent(project, projects) == nil do
      asked = for child <- projects, parent(child, projects) == project, path <- child.only || [child.root], do: path
      if project.only, do: %{project | only: project.only ++ asked}, else: project
    end
  end

  defp parent(project, projects), do: Enum.find(projects, &(project.root in children(&1.root)))

  @doc "Returns whether the unit's findings in the file at `path` were asked for."
  def wanted?(%{only: nil}, _path), do: true
  def wanted?(%{only: only}, path), do: Enum.any?(only, &(path == &1 or String.starts_with?(path, &1 <> "/")))
end
