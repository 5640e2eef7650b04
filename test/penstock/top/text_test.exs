defmodule Penstock.Top.TextTest do
  use ExUnit.Case, async: true

  alias Penstock.Reports
  alias Penstock.Top.Text

  # What a terminal could act on: control characters, format characters such as marks of direction,
  # separators of lines, private and unassigned characters, and combining marks.
  @active ~S"[\p{C}\p{Zl}\p{Zp}\p{M}]"

  test "hostile text is inert, and so are cut and padded texts" do
    active = Regex.compile!(@active, "u")

    for text <- Reports.hostile_texts() ++ for(byte <- 0..255, do: <<byte>>) do
      for inert <- [Text.clean(text), Text.cut(text, 7), Text.tail(text, 7), Text.pad(text, 7, :right)] do
        assert String.valid?(inert)
        refute inert =~ active, inspect(text)
      end
    end
  end

  test "ordinary text stays as it is" do
    for text <- ["MyApp.Jobs", "naïve café", "プール", "{:user, \"a\"}", "Zażółć", "🎉", "한글"] do
      assert Text.clean(text) == text
    end
  end

  test "a character of two columns is never torn" do
    assert Text.width("プール") == 6
    assert Text.cut("プール", 6) == "プール"
    assert Text.cut("プール", 5) == "プー~"
    assert Text.cut("プール", 4) == "プ~"
    assert Text.pad("プール", 4) == "プ~ "
    assert Text.tail("プール", 5) == "~ール"
    assert Text.tail("プール", 4) == "~ル"
    assert Text.cut("abc", 0) == ""
    assert Text.cut("漢", 1) == "~"
  end

  test "the ending of a long text is cheap, and whole" do
    assert Text.ending("abc", 3) == "abc"
    assert Text.ending("abcd", 3) == "~cd"
    assert Text.ending("漢字", 6) == "漢字"
    assert Text.ending("漢字漢", 6) == "~漢"
    assert Text.ending(<<0x80, 0x80, 0x80>>, 2) == "~"
  end

  test "a text has at most the columns it is cut to, and exactly those it is padded to" do
    for text <- Reports.hostile_texts(), columns <- 1..60 do
      assert Text.width(Text.cut(text, columns)) <= columns
      assert Text.width(Text.tail(text, columns)) <= columns
      assert Text.width(Text.pad(text, columns)) == columns
    end
  end
end
