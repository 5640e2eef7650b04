defmodule Penstock.Audit.Texts do
  @moduledoc false
  # Audits code that another tool has read already, as Credo has. Nothing is compiled, so macros, and
  # imports of the project's own modules, are not seen through.

  alias Penstock.Audit
  alias Penstock.Audit.{ConfigFile, Finding, Generated, Reach, Source, Suppress}
  alias Penstock.Audit.Reach.Waits

  @key __MODULE__

  @doc """
  Returns the findings of all rules in `texts`, a list of `{path, text}`, without those that comments
  allow. A text that does not parse has none.

  The last result is kept: a tool may ask once for each rule, also at the same time.
  """
  @spec findings([{String.t(), String.t()}]) :: [Finding.t()]
  def findings(texts) do
    texts = Enum.sort(texts)
    hash = :erlang.md5(:erlang.term_to_binary(texts))

    # Others wait for the first that asks.
    :global.trans({@key, self()}, fn -> kept(hash) || keep(hash, audit(texts)) end, [node()])
  end

  defp kept(hash) do
    case :persistent_term.get(@key, nil) do
      {^hash, findings} -> findings
      _other -> nil
    end
  end

  defp keep(hash, findings) do
    :persistent_term.put(@key, {hash, findings})
    findings
  end

  defp audit(texts) do
    sources =
      for {path, text} <- texts, Path.extname(path) == ".ex", {:ok, source} <- [Source.parse(path, text)] do
        Source.walk(source, nil)
      end

    modules = sources |> Enum.flat_map(& &1.modules) |> Generated.inline() |> Waits.spread()
    reach = Reach.build(modules)
    configs = configs(texts)

    found =
      for(module <- modules, rule <- rules(:check), finding <- rule.check(%{module | reach: reach}), do: finding) ++
        for(file <- configs, rule <- rules(:check_file), finding <- rule.check_file(file), do: finding)

    suppressions = suppressions(texts)
    found |> Finding.finish() |> Enum.reject(&allowed?(&1, suppressions))
  end

  defp rules(function) do
    for rule <- Audit.rules(), Code.ensure_loaded?(rule) and function_exported?(rule, function, 1), do: rule
  end

  # The project is the one in this directory. Findings elsewhere than in the texts could not be shown.
  defp configs(texts) do
    paths = MapSet.new(texts, &elem(&1, 0))
    roots = ["." | Enum.map(Path.wildcard("apps/*/mix.exs"), &Path.dirname/1)]
    sources = for {path, _text} <- texts, Path.extname(path) == ".ex", do: path

    roots
    |> Enum.map(&Path.expand/1)
    |> ConfigFile.load(sources)
    |> Enum.filter(&MapSet.member?(paths, &1.path))
  end

  defp suppressions(texts) do
    for {path, text} <- texts, String.contains?(text, "penstock:allow"), into: %{} do
      lines = text |> String.split("\n") |> List.to_tuple()
      {path, lines |> Suppress.comments() |> Suppress.find(lines)}
    end
  end

  defp allowed?(finding, suppressions) do
    suppressions
    |> Map.get(finding.file, [])
    |> Enum.any?(&Suppress.allows?(&1, finding))
  end
end
