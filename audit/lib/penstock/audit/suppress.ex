defmodule Penstock.Audit.Suppress do
  @moduledoc false
  # `# penstock:allow PS003 reason` on the line of a finding, or in the comments above it.

  alias Penstock.Audit.Finding

  defstruct rules: [], reason: "", line: 1, target: 1

  @id "PS000"
  # Commas between the rules may be left out. Otherwise the second rule would be a part of the reason.
  @pattern ~r/^#+\s*penstock:allow\b[\s:]*((?:PS\d+\b(?:[\s,]+PS\d+\b)*)?)(.*)$/i

  @doc "The rule of findings about comments that have no effect."
  def id, do: @id

  @doc "Returns the suppressions of a file, from its comments as `{line, text}` and its lines as a tuple."
  def find(comments, lines) do
    for {line, text} <- comments, [_match, rules, reason] <- List.wrap(run(text)) do
      %__MODULE__{
        rules: rules |> String.upcase() |> String.split(~r/[\s,]+/, trim: true),
        reason: String.trim(reason),
        line: line,
        target: target(line, lines)
      }
    end
  end

  @doc "Returns the comments of a text without a parser of its own, for files that are not Elixir."
  def comments(lines) do
    for {text, index} <- lines |> Tuple.to_list() |> Enum.with_index(1),
        String.contains?(text, "penstock:allow"),
        do: {index, String.replace(text, ~r/^.*?(?=#+\s*penstock:allow)/, "")}
  end

  defp run(text), do: if(match = Regex.run(@pattern, text), do: [match])

  # A comment alone on its line stands for the next line with code.
  defp target(line, lines) do
    if comment?(lines, line), do: next(line + 1, lines), else: line
  end

  defp next(line, lines),
    do: if(line <= tuple_size(lines) and comment?(lines, line), do: next(line + 1, lines), else: line)

  defp comment?(lines, line) do
    text = lines |> elem(line - 1) |> String.trim_leading()
    text == "" or String.starts_with?(text, "#")
  end

  @doc """
  Returns the findings of a file that no comment allows, and a finding for each comment without a
  reason or without effect. Of the rules `all`, those in `ran` have run; without the rule of such findings
  there are none.
  """
  def apply(findings, suppressions, file, ran, all) do
    {kept, used} =
      Enum.reduce(findings, {[], MapSet.new()}, fn finding, {kept, used} ->
        case Enum.find(suppressions, &allows?(&1, finding)) do
          nil -> {[finding | kept], used}
          suppression -> {kept, MapSet.put(used, suppression.line)}
        end
      end)

    notices = if @id in ran, do: Enum.flat_map(suppressions, &notice(&1, used, file, ran, all)), else: []
    kept ++ notices
  end

  @doc "Returns whether the suppression allows the finding."
  def allows?(%{reason: ""}, _finding), do: false
  def allows?(suppression, finding), do: finding.line == suppression.target and finding.rule in suppression.rules

  defp notice(%{rules: []} = suppression, _used, file, _ran, _all),
    do: [finding(suppression, file, "names no rule, so it allows nothing")]

  defp notice(%{reason: ""} = suppression, _used, file, _ran, _all),
    do: [finding(suppression, file, "has no reason, so it allows nothing")]

  defp notice(suppression, used, file, ran, all) do
    unknown = Enum.find(suppression.rules, &(&1 not in all))

    cond do
      unknown -> [finding(suppression, file, "names #{unknown}, which is no rule")]
      MapSet.member?(used, suppression.line) or not Enum.all?(suppression.rules, &(&1 in ran)) -> []
      true -> [finding(suppression, file, "has no effect: nothing is found there")]
    end
  end

  defp finding(suppression, file, message) do
    %Finding{
      rule: @id,
      severity: :low,
      file: file,
      line: suppression.line,
      message:
        "the comment #{Enum.join(["penstock:allow" | List.wrap(rules(suppression))], " ")} in line " <>
          "#{suppression.line} #{message}",
      why: "A comment that allows nothing hides that the place was changed.",
      expression: {suppression.rules, suppression.reason}
    }
  end

  defp rules(%{rules: []}), do: nil
  defp rules(%{rules: rules}), do: Enum.join(rules, ", ")
end
