defmodule Penstock.Audit.Format.Sarif do
  @moduledoc false
  # SARIF 2.1.0, for services that show findings at the lines of a change.

  alias Penstock.Audit.Format.Parts
  alias Penstock.Audit.JSON

  @schema "https://json.schemastore.org/sarif-2.1.0.json"
  @version "2.1.0"
  @levels %{high: "error", medium: "warning", low: "note"}
  # Services compare these by name, so a change of the hashed terms needs a new one.
  @fingerprint "penstockAudit/v1"
  @root "%SRCROOT%"
  # Rules of comments in the code have no module of their own.
  @unknown "A comment that allows nothing"

  @doc "Returns the SARIF of a result. `rules` are the modules of all rules."
  @spec render(map, [module]) :: iodata
  def render(result, rules) do
    suppressed = Parts.suppressed(result)
    shown = Enum.map(result.findings, &{&1, []}) ++ Enum.map(suppressed, &{&1.finding, [suppression(&1)]})
    descriptors = descriptors(rules, shown)
    index = descriptors |> Enum.map(&elem(&1, 0)) |> Enum.with_index() |> Map.new()
    files = shown |> Enum.map(fn {finding, _} -> finding.file end) |> Enum.uniq() |> Map.new(&{&1, Parts.lines(&1)})

    JSON.encode(
      object(
        "$schema": @schema,
        version: @version,
        runs: [
          object(
            tool: object(driver: driver(descriptors)),
            invocations: [invocation(result)],
            columnKind: "unicodeCodePoints",
            results: Enum.map(shown, &finding(&1, index, files))
          )
        ]
      )
    )
  end

  defp object(pairs), do: {:object, pairs}
  defp text(text), do: object(text: text)

  # --- rules

  defp driver(descriptors) do
    object(
      name: "mix penstock.audit",
      organization: "Penstock",
      rules: for({id, title, why, level} <- descriptors, do: descriptor(id, title, why, level))
    )
  end

  # A rule that a finding names, but no module is for, has a descriptor too.
  defp descriptors(rules, shown) do
    known = for rule <- rules, do: {rule.id(), rule.title(), rule.why(), @levels[rule.default_severity()]}
    ids = Enum.map(known, &elem(&1, 0))
    others = for {finding, _} <- shown, finding.rule not in ids, do: {finding.rule, @unknown, finding.why, "note"}
    Enum.sort(known ++ Enum.uniq_by(others, &elem(&1, 0)))
  end

  defp descriptor(id, title, why, level) do
    object(
      id: id,
      name: name(title),
      shortDescription: text(title),
      fullDescription: text(why),
      help:
        object(
          text: "#{title}. #{why} A comment allows a place: penstock:allow #{id} reason",
          markdown: "**#{title}**\n\n#{why}\n\nTo allow a place: `# penstock:allow #{id} reason`"
        ),
      defaultConfiguration: object(level: level),
      properties: object(tags: ["security", "denial-of-service", "external/cwe/cwe-770"])
    )
  end

  # "A process for each element" becomes "AProcessForEachElement".
  defp name(title) do
    ~r/[A-Za-z0-9]+/
    |> Regex.scan(title)
    |> Enum.map_join(fn [<<first::utf8, rest::binary>>] -> String.upcase(<<first::utf8>>) <> rest end)
  end

  # --- the run

  defp invocation(result) do
    notifications =
      for %{path: path, why: why} <- result.skipped do
        object(
          level: "note",
          message: text("skipped #{path}: #{why}"),
          locations: [object(physicalLocation: object(artifactLocation: artifact(path)))]
        )
      end

    object(executionSuccessful: true, toolExecutionNotifications: notifications)
  end

  # --- findings

  defp finding({finding, suppressions}, index, files) do
    lines = files[finding.file]

    [
      ruleId: finding.rule,
      ruleIndex: Map.fetch!(index, finding.rule),
      level: Map.fetch!(@levels, finding.severity),
      message: text("#{finding.message}. #{finding.why}"),
      locations: [location(finding, lines)],
      partialFingerprints: object([{@fingerprint, finding.fingerprint}])
    ]
    |> append(:fixes, fixes(finding, lines))
    |> append(:suppressions, suppressions)
    |> object()
  end

  # A result without suppressions must not have an empty list: it would say that others have some.
  defp append(pairs, _key, []), do: pairs
  defp append(pairs, key, list), do: pairs ++ [{key, list}]

  defp location(finding, lines) do
    physical =
      object(physicalLocation: object(artifactLocation: artifact(finding.file), region: region(finding, lines)))

    case Parts.function(finding.function) do
      nil -> physical
      name -> object(elem(physical, 1) ++ [logicalLocations: [object(fullyQualifiedName: name, kind: "function")]])
    end
  end

  defp region(finding, lines) do
    case Enum.at(lines, finding.line - 1) do
      nil ->
        object(startLine: finding.line)

      line ->
        line = String.trim_trailing(line, "\r")
        start = finding.column || indent(line) + 1
        # The end is the column after the last character.
        region = [startLine: finding.line, startColumn: start, endColumn: max(start, length_of(line) + 1)]
        object(region ++ [snippet: text(line)])
    end
  end

  defp indent(line), do: length_of(line) - length_of(String.trim_leading(line))
  defp length_of(line), do: if(String.valid?(line), do: line |> String.to_charlist() |> length(), else: byte_size(line))

  defp fixes(%{rewrite: nil}, _lines), do: []

  defp fixes(%{rewrite: rewrite} = finding, lines) do
    case Enum.at(lines, rewrite.to_line - 1) do
      nil ->
        []

      last ->
        {text, return} =
          if String.ends_with?(last, "\r"), do: {String.trim_trailing(last, "\r"), "\r"}, else: {last, ""}

        deleted =
          object(
            startLine: rewrite.from_line,
            startColumn: 1,
            endLine: rewrite.to_line,
            endColumn: length_of(text) + 1
          )

        inserted = text(Enum.join(rewrite.lines, return <> "\n"))
        replacement = object(deletedRegion: deleted, insertedContent: inserted)
        change = object(artifactLocation: artifact(finding.file), replacements: [replacement])
        [object(description: text("Bound it"), artifactChanges: [change])]
    end
  end

  defp suppression(%{by: :comment, reason: reason}), do: object(kind: "inSource", justification: reason)
  defp suppression(%{by: :baseline, reason: reason}), do: object(kind: "external", justification: reason)

  # Paths below the working directory are relative to the root of the sources.
  defp artifact(path) do
    case Path.type(path) do
      :relative -> object(uri: encode(path), uriBaseId: @root)
      _absolute -> object(uri: "file://" <> encode(path))
    end
  end

  defp encode(path), do: URI.encode(path, &(URI.char_unreserved?(&1) or &1 == ?/))
end
