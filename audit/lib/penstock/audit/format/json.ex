defmodule Penstock.Audit.Format.JSON do
  @moduledoc false
  # For programs. The keys are stable: a new one may come, none goes or changes its meaning without a
  # new `version`.
  #
  #   * `version` - 1
  #   * `findings` - a list of `rule`, `severity` ("high", "medium" or "low"), `file`, `line`, `column`
  #     (or null), `function` ("Module.name/arity" or null), `message`, `why`, `rewrite` (null, or
  #     `from_line`, `to_line` and the new `lines`) and `fingerprint`
  #   * `suppressed` - the same, each with `by` ("comment" or "baseline") and `reason`
  #   * `skipped` - a list of `path` and `why`
  #   * `baseline` - null, or `path`, the number `hidden`, and the entries that are `gone`
  #   * `stats` - `files`, `lines`, `ms`

  alias Penstock.Audit.Format.Parts
  alias Penstock.Audit.JSON

  @version 1

  @doc "Returns the JSON of a result."
  @spec render(map, [module]) :: iodata
  def render(result, _rules) do
    JSON.encode(
      {:object,
       [
         version: @version,
         findings: Enum.map(result.findings, &{:object, finding(&1)}),
         suppressed: Enum.map(Parts.suppressed(result), &suppressed/1),
         skipped: Enum.map(result.skipped, &{:object, [path: &1.path, why: &1.why]}),
         baseline: baseline(result),
         stats: {:object, [files: result.stats.files, lines: result.stats.lines, ms: result.stats.ms]}
       ]}
    )
  end

  defp finding(finding) do
    [
      rule: finding.rule,
      severity: finding.severity,
      file: finding.file,
      line: finding.line,
      column: finding.column,
      function: Parts.function(finding.function),
      message: finding.message,
      why: finding.why,
      rewrite: rewrite(finding.rewrite),
      fingerprint: finding.fingerprint
    ]
  end

  defp rewrite(nil), do: nil

  defp rewrite(rewrite),
    do: {:object, [from_line: rewrite.from_line, to_line: rewrite.to_line, lines: rewrite.lines]}

  defp suppressed(%{finding: finding, by: by, reason: reason}),
    do: {:object, finding(finding) ++ [by: by, reason: reason]}

  defp baseline(%{baseline: %{path: path, hidden: hidden, gone: gone}}) do
    entries =
      for entry <- gone do
        {:object, [fingerprint: entry.fingerprint, rule: entry.rule, file: entry.file, function: entry.function]}
      end

    {:object, [path: path, hidden: hidden, gone: entries]}
  end

  defp baseline(_result), do: nil
end
