defmodule Penstock.Audit.TextsTest do
  # The last result is kept in one place for the VM.
  use ExUnit.Case, async: false

  alias Penstock.Audit.Texts

  @each "  def all(items), do: Enum.each(items, fn item -> Task.start(fn -> item end) end)\n"

  defp module(name, body), do: {"lib/#{name}.ex", "defmodule #{name} do\n#{body}end\n"}
  defp found(texts), do: for(finding <- Texts.findings(texts), do: {finding.rule, finding.file, finding.line})

  test "finds what is in texts, through several of them" do
    helper = module("Helper", "  def later(item), do: Task.start(fn -> item end)\n")
    caller = module("Caller", "  def all(items), do: Enum.each(items, &Helper.later/1)\n")
    assert found([caller, helper]) == [{"PS001", "lib/Helper.ex", 2}]
    assert found([helper, caller]) == [{"PS001", "lib/Helper.ex", 2}]
    assert found([helper]) == []
  end

  test "leaves out what a comment with a reason allows" do
    allowed = module("Allowed", "  # penstock:allow PS001 at most ten items\n" <> @each)
    assert found([allowed]) == []
    other = module("Allowed", "  # penstock:allow PS002 another rule\n" <> @each)
    assert found([other]) == [{"PS001", "lib/Allowed.ex", 3}]
  end

  test "a text that does not parse has no findings, and the others have theirs" do
    assert found([{"lib/broken.ex", "defmodule ("}, module("Whole", @each)]) == [{"PS001", "lib/Whole.ex", 2}]
  end

  test "gives the same to all who ask at the same time" do
    texts = for number <- 1..20, do: module("Many#{number}", @each)
    first = found(texts)
    assert length(first) == 20

    assert 1..8 |> Enum.map(fn _ -> Task.async(fn -> found(texts) end) end) |> Task.await_many() |> Enum.uniq() == [
             first
           ]
  end
end
