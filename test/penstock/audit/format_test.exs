defmodule Penstock.Audit.FormatTest do
  use ExUnit.Case, async: true

  alias Penstock.Audit.{Finding, Format}
  alias Penstock.Audit.Format.Text

  defmodule Rule do
    def id, do: "PS001"
    def title, do: "A process for each element"
    def why, do: "The data decides."
    def default_severity, do: :high
  end

  @code """
  defmodule Shop do
    def all(items) do
      Enum.each(items, fn item ->
        Task.start(fn -> item end)
      end)
    end
  end
  """

  setup do
    directory = Path.join(System.tmp_dir!(), "penstock-format-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    file = Path.join(directory, "shop.ex")
    File.write!(file, @code)
    {:ok, sample: file, directory: directory}
  end

  defp finding(file, changes \\ []) do
    struct!(
      %Finding{
        rule: "PS001",
        severity: :high,
        file: file,
        line: 4,
        column: 7,
        function: {Shop, :all, 1},
        message: "Shop.all/1 calls Task.start/1 for each element",
        why: "The data decides.",
        rewrite: %{from_line: 4, to_line: 4, lines: ["      Penstock.Task.start(Shop.Jobs, fn -> item end)"]},
        fingerprint: "00112233445566778899"
      },
      changes
    )
  end

  defp result(findings, more \\ %{}) do
    Map.merge(%{findings: findings, skipped: [], stats: %{files: 1, lines: 7, ms: 3}}, more)
  end

  defp text(result, colours? \\ false), do: result |> Text.render([Rule], colours?) |> IO.iodata_to_binary()

  describe "text" do
    test "names the place, the rule, the severity and the reason, and shows the change", %{sample: file} do
      assert text(result([finding(file)])) == """
             #{file}

               PS001 high  A process for each element
               #{file}:4:7

               Shop.all/1 calls Task.start/1 for each element
               The data decides.

                 --- a#{file}
                 +++ b#{file}
                 @@ -2,5 +2,5 @@
                    def all(items) do
                      Enum.each(items, fn item ->
                 -      Task.start(fn -> item end)
                 +      Penstock.Task.start(Shop.Jobs, fn -> item end)
                      end)
                    end

             1 finding (1 high, 0 medium, 0 low) in 1 file, 7 lines, 3 ms
             """
    end

    test "groups by file, the gravest first" do
      findings = [
        finding("a.ex", severity: :low, rewrite: nil),
        finding("b.ex", rewrite: nil, line: 9),
        finding("b.ex", severity: :medium, rewrite: nil, line: 2)
      ]

      heads = for line <- String.split(text(result(findings)), "\n"), line =~ ~r/^(\S+\.ex$|  \S+\.ex:)/, do: line
      assert heads == ["b.ex", "  b.ex:2:7", "  b.ex:9:7", "a.ex", "  a.ex:4:7"]
    end

    test "has colours only where they are wanted", %{sample: file} do
      refute text(result([finding(file)])) =~ "\e["
      assert text(result([finding(file)]), true) =~ "\e[31mPS001 high\e[0m"
    end

    test "lets no control character of the audited code through", %{sample: file} do
      output = text(result([finding(file, message: "calls \e]0;owned\a at \e[2J", rewrite: nil)]))
      refute output =~ "\e"
      refute output =~ "\a"
    end

    test "shows a change that inserts lines, and leaves out one whose lines are gone", %{sample: file} do
      rewrite = %{from_line: 3, to_line: 3, lines: ["    Enum.each(items, fn item ->", "      check(item)"]}
      inserted = text(result([finding(file, rewrite: rewrite)]))
      assert inserted =~ "@@ -1,5 +1,6 @@"
      assert inserted =~ "\n    +      check(item)\n"
      refute inserted =~ ~r/^    -(?!--)/m

      refute text(result([finding(file, rewrite: %{from_line: 99, to_line: 99, lines: ["x"]})])) =~ "@@"
    end

    test "says what was skipped and what became of the baseline" do
      gone = %{fingerprint: "aabbccddee", rule: "PS003", file: "c.ex", function: "C.run/0"}
      skipped = [%{path: "src/x.erl", why: "an Erlang source"}]
      output = text(result([], %{skipped: skipped, baseline: %{path: "base", hidden: 2, gone: [gone]}}))
      assert output =~ "skipped src/x.erl: an Erlang source\n"
      assert output =~ "2 findings hidden by the baseline base\n"
      assert output =~ "no longer found, so it can go from base: PS003 aabbccddee in C.run/0\n"
      assert output =~ "0 findings (0 high, 0 medium, 0 low)"
    end
  end

  test "the diff of each change, applied, gives the new text", %{sample: file} do
    changes = [
      {%{from_line: 1, to_line: 1, lines: ["defmodule Shop2 do"]}, 1},
      {%{from_line: 7, to_line: 7, lines: ["  :end", "end"]}, 8},
      {%{from_line: 3, to_line: 5, lines: ["    Penstock.Task.async_stream(Shop.Jobs, items, & &1)"]}, 3}
    ]

    for {rewrite, line} <- changes do
      diff = Format.Diff.lines("lib/shop.ex", Format.Parts.lines(file), rewrite)
      assert ["--- a/lib/shop.ex", "+++ b/lib/shop.ex" | hunk] = diff
      assert @code |> String.split("\n") |> patch(hunk) |> Enum.at(line - 1) == List.last(rewrite.lines)
    end
  end

  # patch and git apply take each of these, and take none without the tab, the returns or the last lines.
  test "the diff has the ends of lines of the file, and a tab behind a name with spaces", %{directory: directory} do
    change = %{from_line: 1, to_line: 1, lines: ["b"]}
    unended = "\\ No newline at end of file"

    for {text, hunk} <- [
          {"a\r\nc\r\n", ["@@ -1,2 +1,2 @@", "-a\r", "+b\r", " c\r"]},
          {"a\nc", ["@@ -1,2 +1,2 @@", "-a", "+b", " c", unended]},
          {"a", ["@@ -1,1 +1,1 @@", "-a", unended, "+b", unended]}
        ] do
      file = Path.join(directory, "two words.ex")
      File.write!(file, text)
      printed = text(result([finding(file, rewrite: change)]))
      assert ["--- a" <> old, "+++ b" <> new | ^hunk] = for("    " <> line <- String.split(printed, "\n"), do: line)
      assert {old, new} == {file <> "\t", file <> "\t"}
    end
  end

  test "a fix of SARIF keeps the ends of lines", %{directory: directory} do
    file = Path.join(directory, "windows.ex")
    File.write!(file, "a\r\nbcd\r\n")
    change = %{from_line: 1, to_line: 2, lines: ["x", "y"]}

    sarif =
      "sarif" |> Format.render(result([finding(file, line: 1, column: nil, rewrite: change)]), [Rule]) |> to_string()

    assert sarif =~ ~r/"endLine": 2,\s+"endColumn": 4\s/
    assert sarif =~ ~S("text": "x\r\ny")
    assert sarif =~ ~S("text": "a")
  end

  # Applies a hunk as patch does: each line that stays or goes must be where the hunk says.
  defp patch(lines, ["@@ " <> head | hunk]) do
    [_all, start, old, start, new] = Regex.run(~r/^-(\d+),(\d+) \+(\d+),(\d+) @@$/, head)
    {before, rest} = Enum.split(lines, String.to_integer(start) - 1)
    {there, later} = Enum.split(rest, String.to_integer(old))
    assert there == for(<<sign, text::binary>> <- hunk, sign in [?\s, ?-], do: text)
    replaced = for <<sign, text::binary>> <- hunk, sign in [?\s, ?+], do: text
    assert length(replaced) == String.to_integer(new)
    before ++ replaced ++ later
  end

  test "JSON has stable keys, and escapes what is not text", %{sample: file} do
    finding = finding(file, message: "a \"quoted\" \\ text\nwith \x01 and \xFF and é", rewrite: nil, function: nil)
    output = "json" |> Format.render(result([finding]), [Rule]) |> IO.iodata_to_binary()

    assert output == """
           {
             "version": 1,
             "findings": [
               {
                 "rule": "PS001",
                 "severity": "high",
                 "file": "#{file}",
                 "line": 4,
                 "column": 7,
                 "function": null,
                 "message": "a \\"quoted\\" \\\\ text\\nwith \\u0001 and \uFFFD and é",
                 "why": "The data decides.",
                 "rewrite": null,
                 "fingerprint": "00112233445566778899"
               }
             ],
             "suppressed": [],
             "skipped": [],
             "baseline": null,
             "stats": {
               "files": 1,
               "lines": 7,
               "ms": 3
             }
           }
           """
  end

  test "SARIF has rules, regions, fingerprints, fixes, and what is suppressed", %{sample: file} do
    hidden = %{finding: finding(file, severity: :low), by: :comment, reason: "at most one runs"}

    output =
      "sarif"
      |> Format.render(result([finding("lib/a b.ex"), finding(file)], %{suppressed: [hidden]}), [Rule])
      |> IO.iodata_to_binary()

    assert output =~ ~s("version": "2.1.0")
    assert output =~ ~s("uri": "lib/a%20b.ex",\n                  "uriBaseId": "%SRCROOT%")
    assert output =~ ~s("uri": "file://#{file}")
    assert output =~ ~s("penstockAudit/v1": "00112233445566778899")
    assert output =~ ~s("startLine": 4,\n                  "startColumn": 7,\n                  "endColumn": 33)
    assert output =~ ~s("kind": "inSource",\n              "justification": "at most one runs")
    assert output =~ ~s("text": "      Penstock.Task.start(Shop.Jobs, fn -> item end\)")
    assert output =~ ~s("level": "error")
    assert output =~ ~s("level": "note")
    assert output =~ ~s("name": "AProcessForEachElement")
    assert length(Regex.scan(~r/"suppressions"/, output)) == 1
  end
end
