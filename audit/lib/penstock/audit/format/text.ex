defmodule Penstock.Audit.Format.Text do
  @moduledoc false
  # For people: the findings of each file, the file with the gravest first. A finding has its place,
  # its rule, its message, why it matters, and the change as a diff.

  alias Penstock.Audit.Format.{Diff, Parts}

  @order %{high: 0, medium: 1, low: 2}
  @colours %{high: :red, medium: :yellow, low: :cyan}
  @width 100

  @doc "Returns the text of a result, in colours where the output is a terminal."
  @spec render(map, [module]) :: iodata
  def render(result, rules), do: render(result, rules, colours?())

  @doc "Returns the text of a result, with or without colours."
  @spec render(map, [module], boolean) :: iodata
  def render(result, rules, colours?) do
    titles = Map.new(rules, &{&1.id(), &1.title()})

    [
      result.findings |> by_file() |> Enum.map(&file(&1, titles, colours?)),
      Enum.map(result.skipped, &"skipped #{printable(&1.path)}: #{printable(&1.why)}\n"),
      baseline(result),
      summary(result, colours?)
    ]
  end

  # Elixir's start script sets this if the output is a terminal.
  defp colours?, do: IO.ANSI.enabled?() and System.get_env("NO_COLOR", "") == ""

  defp by_file(findings) do
    findings
    |> Enum.group_by(& &1.file)
    |> Enum.sort_by(fn {file, findings} -> {findings |> Enum.map(&@order[&1.severity]) |> Enum.min(), file} end)
  end

  defp file({file, findings}, titles, colours?) do
    lines = Parts.lines(file)
    findings = Enum.sort_by(findings, &{&1.line, &1.column || 0, &1.rule})

    [
      paint(printable(file), [:bright], colours?),
      "\n\n",
      Enum.map(findings, &finding(&1, lines, titles, colours?))
    ]
  end

  defp finding(finding, lines, titles, colours?) do
    place = Enum.join([finding.file, finding.line | List.wrap(finding.column)], ":")
    title = Map.get(titles, finding.rule)

    [
      "  ",
      paint("#{finding.rule} #{finding.severity}", [@colours[finding.severity]], colours?),
      if(title, do: "  #{title}", else: []),
      "\n  ",
      printable(place),
      "\n\n",
      wrap(finding.message),
      wrap(finding.why),
      rewrite(finding, lines, colours?),
      "\n"
    ]
  end

  defp rewrite(%{rewrite: nil}, _lines, _colours?), do: []

  defp rewrite(finding, lines, colours?) do
    case Diff.lines(finding.file, lines, finding.rewrite) do
      [] -> []
      diff -> ["\n", Enum.map(diff, &["    ", change(&1, colours?), "\n"])]
    end
  end

  # The end of a line in a file of Windows, which the diff does not apply without.
  defp change(line, colours?) do
    case String.trim_trailing(line, "\r") do
      ^line -> diff_line(printable(line), colours?)
      text -> [diff_line(printable(text), colours?), "\r"]
    end
  end

  defp diff_line("-" <> _rest = line, colours?), do: paint(line, [:red], colours?)
  defp diff_line("+" <> _rest = line, colours?), do: paint(line, [:green], colours?)
  defp diff_line("@@" <> _rest = line, colours?), do: paint(line, [:cyan], colours?)
  defp diff_line(line, _colours?), do: line

  defp baseline(%{baseline: %{hidden: hidden, gone: gone, path: path}}) do
    [
      if(hidden > 0, do: "#{count(hidden, "finding")} hidden by the baseline #{path}\n", else: []),
      for entry <- gone do
        "no longer found, so it can go from #{path}: #{entry.rule} #{entry.fingerprint} in #{entry.function || entry.file}\n"
      end
    ]
  end

  defp baseline(_result), do: []

  defp summary(%{findings: findings, stats: stats}, colours?) do
    counts =
      for severity <- [:high, :medium, :low] do
        number = Enum.count(findings, &(&1.severity == severity))
        text = "#{number} #{severity}"
        if number > 0, do: paint(text, [@colours[severity]], colours?), else: text
      end

    [
      "#{count(length(findings), "finding")} (",
      Enum.intersperse(counts, ", "),
      ") in #{count(stats.files, "file")}, #{count(stats.lines, "line")}, #{stats.ms} ms\n"
    ]
  end

  defp count(1, noun), do: "1 #{noun}"
  defp count(number, noun), do: "#{number} #{noun}s"

  # Breaks a paragraph into lines.
  defp wrap(""), do: []

  defp wrap(text) do
    {lines, last} =
      text
      |> printable()
      |> String.split()
      |> Enum.reduce({[], ""}, fn
        word, {lines, ""} -> {lines, word}
        word, {lines, line} -> add(word, lines, line)
      end)

    for line <- Enum.reverse([last | lines]), do: ["  ", line, "\n"]
  end

  defp add(word, lines, line) do
    if String.length(line) + String.length(word) < @width,
      do: {lines, line <> " " <> word},
      else: {[line | lines], word}
  end

  # The audited code is not trusted: control characters would reach the terminal, and marks of direction
  # would show another text than there is.
  defp printable(text) do
    text = if String.valid?(text), do: text, else: for(<<byte <- text>>, into: "", do: ascii(byte))
    String.replace(text, ~r/[\x{0}-\x{8}\x{B}-\x{1F}\x{7F}-\x{9F}\x{202A}-\x{202E}\x{2066}-\x{2069}]/u, "?")
  end

  defp ascii(byte) when byte < 0x80, do: <<byte>>
  defp ascii(_byte), do: "?"

  defp paint(text, _codes, false), do: text
  defp paint(text, codes, true), do: IO.ANSI.format_fragment([codes, text, :reset], true)
end
