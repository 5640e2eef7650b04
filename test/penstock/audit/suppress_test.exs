defmodule Penstock.Audit.SuppressTest do
  use ExUnit.Case, async: true

  import Penstock.AuditSources

  alias Penstock.Audit.Suppress

  @found "def all(items), do: Enum.each(items, &Task.start(fn -> &1 end))"

  test "a comment above the line allows it" do
    assert found(module("# penstock:allow PS001 ten items at most\n#{@found}")) == []
    assert found(module("# penstock:allow PS001 ten items at most\n# and more words\n\n#{@found}")) == []
  end

  test "the result has what a comment allows, with its reason" do
    directory = directory(%{"sample.ex" => module("# penstock:allow PS001 ten items at most\n#{@found}")})
    {:ok, result} = Penstock.Audit.run([Path.join(directory, "sample.ex")], compile?: false)

    assert [%{by: :comment, reason: "ten items at most", finding: %{rule: "PS001", fingerprint: fingerprint}}] =
             result.suppressed

    assert is_binary(fingerprint)
  end

  test "a comment on the line allows it" do
    assert found(module("#{@found} # penstock:allow PS001 ten items at most")) == []
  end

  test "a comment names several rules" do
    assert found(module("# penstock:allow PS006, PS001 ten items at most\n#{@found}")) == []
  end

  # The comment allowed the first of the rules alone before.
  test "a comment names several rules without commas" do
    for rules <- ["PS006 PS001", "PS006  ,PS001", "ps006 PS002, PS001"] do
      assert found(module("# penstock:allow #{rules} ten items at most\n#{@found}")) == []
    end

    assert [%{rule: "PS000", message: message}, %{rule: "PS001"}] =
             findings(module("# penstock:allow PS006 PS001\n#{@found}"))

    assert message == "the comment penstock:allow PS006, PS001 in line 2 has no reason, so it allows nothing"
  end

  test "a comment for another rule allows nothing, and is told" do
    assert [{"PS000", :low, 2}, {"PS001", :high, 3}] =
             found(module("# penstock:allow PS002 ten items at most\n#{@found}"))
  end

  test "a comment without a reason allows nothing, and is told" do
    assert [%{rule: "PS000", message: message}, %{rule: "PS001"}] =
             findings(module("# penstock:allow PS001\n#{@found}"))

    assert message =~ "has no reason"
  end

  test "a comment for a rule that did not run is not told" do
    code = module("# penstock:allow PS001 ten items at most\n#{@found}")
    assert found(code, compile?: false, only: ["PS002"]) == []
    assert found(code, compile?: false, except: ["PS001"]) == []
  end

  test "a text that looks like such a comment is none" do
    assert found(module(~S[def text, do: "# penstock:allow PS001 reason"])) == []
  end

  test "a rule with a digit too many, or that there is not, allows nothing" do
    for rule <- ["PS0019", "PS999"] do
      assert [%{rule: "PS000", message: message}, %{rule: "PS001"}] =
               findings(module("# penstock:allow #{rule} ten items at most\n#{@found}"))

      assert message =~ "names #{rule}, which is no rule"
    end
  end

  test "a comment that names no rule is a finding" do
    assert [%{rule: "PS000", message: message}, %{rule: "PS001"}] =
             findings(module("# penstock:allow ten items at most\n#{@found}"))

    assert message == "the comment penstock:allow in line 2 names no rule, so it allows nothing"
  end

  test "a rule may be in small letters" do
    assert found(module("# penstock:allow ps001 ten items at most\n#{@found}")) == []
  end

  test "findings about comments can be left out, and are, if other rules are asked for" do
    text = module("# penstock:allow PS001\n#{@found}")
    assert [%{rule: "PS000"}, %{rule: "PS001"}] = findings(text)
    assert [%{rule: "PS001"}] = findings(text, compile?: false, except: ["PS000"])
    assert [%{rule: "PS001"}] = findings(text, compile?: false, only: ["PS001"])
    assert [%{rule: "PS000"}] = findings(text, compile?: false, only: ["PS000"])
  end

  test "a comment behind a text with a number sign, in a file that is not parsed" do
    lines = {~S(config :shop, colour: "#fff", http: [] # penstock:allow PS021 for a test)}
    assert [%{rules: ["PS021"], reason: "for a test"}] = lines |> Suppress.comments() |> Suppress.find(lines)
  end
end
