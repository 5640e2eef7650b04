defmodule Penstock.Audit.FindingTest do
  use ExUnit.Case, async: true

  import Penstock.AuditSources

  @first "def all(items), do: Enum.each(items, &Task.start(fn -> &1 end))"

  defp fingerprints(code) do
    directory = directory(%{"sample.ex" => code})
    {:ok, result} = Penstock.Audit.run([Path.join(directory, "sample.ex")], compile?: false)
    for finding <- result.findings, do: finding.fingerprint
  end

  test "a fingerprint does not depend on lines, columns and comments" do
    assert [fingerprint] = fingerprints(module(@first))
    assert fingerprint =~ ~r/^[0-9a-f]{20}$/
    assert [fingerprint] == fingerprints(module("\n# words\ndef other, do: 1\n\n   #{@first}"))
  end

  test "a fingerprint depends on the function and the expression" do
    prints =
      for code <- [
            @first,
            String.replace(@first, "all", "each"),
            String.replace(@first, "fn -> &1 end", "fn -> {&1} end")
          ],
          do: fingerprints(module(code))

    assert length(Enum.uniq(prints)) == 3
  end

  test "equal findings in one function have fingerprints of their own" do
    code =
      module(
        "def all(items) do\nEnum.each(items, &Task.start(fn -> &1 end))\nEnum.each(items, &Task.start(fn -> &1 end))\nend"
      )

    assert [one, two] = fingerprints(code)
    assert one != two
    assert [one] == fingerprints(module("def all(items) do\nEnum.each(items, &Task.start(fn -> &1 end))\nend"))
  end

  test "a baseline leaves findings out" do
    directory = directory(%{"sample.ex" => module(@first)})
    [fingerprint] = fingerprints(module(@first))
    assert {:ok, %{findings: []}} = Penstock.Audit.run([directory], compile?: false, baseline: [fingerprint])
  end

  test "an unknown rule is an error" do
    assert {:error, "there is no rule PS999" <> _} = Penstock.Audit.run(["lib"], only: ["PS999"])
  end
end
