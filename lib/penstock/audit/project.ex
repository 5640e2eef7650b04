defmodule Penstock.Audit.Project do
  @moduledoc false
  # Which files belong to an audit.
  #
  # A unit is compiled at once: a Mix project, with the children of an umbrella, or files that belong
  # to no project.

  defstruct root: nil, apps: [], files: [], only: nil, skipped: []

  @type t :: %__MODULE__{
          root: String.t() | nil,
          apps: [String.t()],
          files: [String.t()],
          only: nil | [String.t()],
          skipped: [%{path: String.t(), why: String.t()}]
        }

  @sources ["lib", "web"]
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
      File.dir?(path) -> loose(path |> Path.join("**/*.ex") |> Path.wildcard(), erlang(path, ["**/*.erl"]))
      Path.extname(path) in [".ex", ".exs"] -> loose([path], [])
      true -> loose([], [%{path: path, why: "not Elixir"}])
    end
  end

  defp loose(files, skipped), do: %__MODULE__{files: files, skipped: skipped}

  @doc "Returns the directory of the unit's project, and those of an umbrella's children; none for loose files."
  @spec roots(t) :: [String.t()]
  def roots(%{root: nil}), do: []
  def roots(%{root: root}), do: [root | children(root)]

  defp children(root), do: root |> Path.join("apps/*/mix.exs") |> Path.wildcard() |> Enum.map(&Path.dirname/1)

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

  defp sources(root), do: Enum.flat_map(@sources, &(root |> Path.join("#{&1}/**/*.ex") |> Path.wildcard()))

  defp erlang(root, patterns) do
    for pattern <- patterns,
        path <- root |> Path.join(pattern) |> Path.wildcard(),
        do: %{path: path, why: "an Erlang source"}
  end

  # The name of the application, from the text of mix.exs, since its code is not run here.
  defp own(root) do
    with {:ok, text} <- File.read(Path.join(root, "mix.exs")),
         [_match, name] <- Regex.run(~r/\bapp:\s*:([a-z0-9_]+)/, text) do
      [name]
    else
      _none -> []
    end
  end

  # A file belongs to the project above it if the project compiles it. The outermost one counts, as
  # that of an umbrella.
  defp root(path) do
    path
    |> Path.split()
    |> Enum.scan(&Path.join(&2, &1))
    |> Enum.drop(-1)
    |> Enum.find(&(mix_project?(&1) and within?(path, &1)))
  end

  defp within?(path, root) do
    relative = Path.relative_to(path, root)

    Enum.any?(@sources, &(relative == &1 or String.starts_with?(relative, &1 <> "/"))) or
      Regex.match?(~r{^apps/[^/]+(/lib)?(/|$)}, relative)
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

    case loose do
      [] ->
        projects

      loose ->
        projects ++ [loose(loose |> Enum.flat_map(& &1.files) |> Enum.uniq(), Enum.flat_map(loose, & &1.skipped))]
    end
  end

  @doc "Returns whether the unit's findings in the file at `path` were asked for."
  def wanted?(%{only: nil}, _path), do: true
  def wanted?(%{only: only}, path), do: Enum.any?(only, &(path == &1 or String.starts_with?(path, &1 <> "/")))
end
