defmodule Penstock.Audit.ConfigFile do
  @moduledoc false
  # A file that configures the VM, a server or a supervisor. It is read, never run.
  #
  # `kind` is `:config` for config/*.exs, `:mix_exs`, `:vm_args`, `:endpoint` for a module that uses
  # Phoenix.Endpoint, and `:application` for other modules that start servers or bounded supervisors.
  # In `quoted` all literals are wrapped, so that each has its line. `facts` are those of the project.

  alias Penstock.Audit.Config.Facts
  alias Penstock.Audit.{ConfigFile, Project}

  defstruct path: nil, kind: nil, quoted: nil, text: "", lines: {}, facts: nil

  @type kind :: :config | :mix_exs | :vm_args | :endpoint | :application
  @type t :: %ConfigFile{
          path: String.t(),
          kind: kind,
          quoted: Macro.t() | nil,
          text: String.t(),
          lines: tuple,
          facts: Facts.t() | nil
        }

  # Files that hold none of these words have nothing for a rule, and are not parsed.
  @words [
    "Bandit",
    "Cowboy",
    "cowboy",
    "ThousandIsland",
    ":ranch",
    "PlugAttack",
    "max_children",
    "Penstock.Pool",
    "Penstock.Task.Supervisor",
    "Penstock.DynamicSupervisor",
    "Penstock.Socket"
  ]
  @configuration [{"config/*.exs", :config}, {"mix.exs", :mix_exs}, {"rel/**/vm.args*", :vm_args}]

  @doc """
  Returns the files of a project: those of configuration below `roots`, which are its directory and
  those of an umbrella's children, and those of `sources` that start something.
  """
  @spec load([Path.t()], [Path.t()]) :: [t]
  def load(roots, sources) do
    found =
      for root <- roots,
          {pattern, kind} <- @configuration,
          path <- Project.wildcard(root, pattern, match_dot: true),
          File.regular?(path),
          not String.contains?(Path.basename(path), "remote"),
          file <- read(path, kind),
          do: file

    files = found ++ Enum.flat_map(sources, &source/1)
    facts = Facts.of(files, roots)
    Enum.map(files, &%{&1 | facts: facts})
  end

  @doc "Returns the file of a text."
  @spec parse(String.t(), String.t(), kind) :: t
  def parse(path, text, kind) do
    lines = text |> String.split(["\r\n", "\n"]) |> List.to_tuple()
    %ConfigFile{path: path, kind: kind, quoted: if(kind != :vm_args, do: quoted(text)), text: text, lines: lines}
  end

  defp read(path, kind) do
    case File.read(path) do
      {:ok, text} -> [parse(Path.relative_to_cwd(path), text, kind)]
      {:error, _reason} -> []
    end
  end

  defp source(path) do
    with {:ok, text} <- File.read(path) do
      cond do
        text =~ "use Phoenix.Endpoint" -> [parse(Path.relative_to_cwd(path), text, :endpoint)]
        String.contains?(text, @words) -> [parse(Path.relative_to_cwd(path), text, :application)]
        true -> []
      end
    else
      {:error, _reason} -> []
    end
  end

  # Code that does not parse has been refused by the compiler before.
  defp quoted(text) do
    options = [
      literal_encoder: &{:ok, {:__block__, &2, [&1]}},
      token_metadata: true,
      columns: true,
      emit_warnings: false
    ]

    case Code.string_to_quoted(text, options) do
      {:ok, quoted} -> quoted
      {:error, _reason} -> nil
    end
  rescue
    # Some texts make the tokenizer of old versions raise.
    _error -> nil
  end
end
