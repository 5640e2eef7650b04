defmodule Penstock.Audit.PolarityTest do
  use ExUnit.Case, async: true

  alias Penstock.Audit.Polarity

  defp quoted(text), do: Code.string_to_quoted!(text)

  # Returns the branches that a bound is left in.
  defp bounded(text), do: for(holds? <- [true, false], Polarity.branch(:exists, quoted(text), holds?), do: holds?)

  test "a question is a bound where the thing is not there" do
    for text <- ["registered?(id)", "locked?(id)", "blocked?(id)", "claimed?(id)", "Registry.lookup(R, id)"],
        do: assert({text, bounded(text)} == {text, [false]})

    for text <- ["not running?(id)", "is_nil(find(id))", "missing?(id)", "(not running?(id))"],
        do: assert(bounded(text) == [true])
  end

  test "a call that makes the thing is a bound in both branches" do
    for text <- [":ets.insert_new(t, id)", "lock(id)", "Jobs.claim(id)", "register(id)"],
        do: assert({text, bounded(text)} == {text, [true, false]})
  end

  test "a variable after other patterns" do
    clause = fn earlier ->
      Polarity.clause(:exists, quoted("find(id)"), quoted("user"), Enum.map(earlier, &quoted/1))
    end

    assert clause.(["nil"]) == nil
    assert clause.(["%{active: false}", "nil"]) == nil
    assert clause.(["nil", "%{active: false}"]) == nil
    assert clause.(["{:ok, user}"]) == :exists
    assert clause.([]) == :exists
  end
end
