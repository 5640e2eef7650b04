defmodule Penstock.View.JSONTest do
  use ExUnit.Case, async: true

  alias Penstock.JSONReader
  alias Penstock.View.JSON

  defp text(term), do: term |> JSON.encode() |> IO.iodata_to_binary()
  defp there_and_back(term), do: term |> JSON.encode() |> JSONReader.decode!()

  test "encodes each kind of term" do
    assert text(nil) == "null"
    assert text([true, false]) == "[true,false]"
    assert text([]) == "[]"
    assert text(%{}) == "{}"

    assert text([-1, 0, 340_282_366_920_938_463_463_374_607_431_768_211_456]) ==
             "[-1,0,340282366920938463463374607431768211456]"

    assert text(%{"b" => [1, %{"c" => nil}], "a" => "x"}) == ~S({"a":"x","b":[1,{"c":null}]})
    assert text(%{"a" => {:json, ["[1", ",2]"]}}) == ~S({"a":[1,2]})
  end

  test "sorts the keys of maps of any size" do
    keys = for n <- 1..100, do: "k#{String.pad_leading("#{n}", 3, "0")}"
    text = text(Map.new(Enum.shuffle(keys), &{&1, 0}))
    assert text == "{" <> Enum.map_join(keys, ",", &~s("#{&1}":0)) <> "}"
  end

  test "gives floats back as they were" do
    for number <- [0.0, 1.0, -1.5, 0.1, 1.0e-300, 1.7976931348623157e308, 123_456_789.123, 5.0e-324, 1.0e22] do
      assert there_and_back(number) === number
    end
  end

  test "gives each character back as it was" do
    for char <-
          Enum.concat([0..0x2FF, 0x2000..0x20FF, 0xD7F0..0xD7FF, 0xE000..0xE010, 0xFFF0..0xFFFF, [0x1F600, 0x10FFFF]]) do
      assert there_and_back("a" <> <<char::utf8>> <> "z") == "a" <> <<char::utf8>> <> "z"
    end
  end

  test "leaves no character that ends a script, begins a tag or breaks a line" do
    hostile = "</script><!-- & ' \" \\ \u2028\u2029\n\r\0\x7f\u0085"
    text = text(%{hostile => hostile})
    for char <- ["<", ">", "&", "\u2028", "\u2029", "\n", "\r", "\0", "\x7f", "\u0085"], do: refute(text =~ char)
    assert JSONReader.decode!(text) == %{hostile => hostile}
  end

  test "replaces bytes that are no UTF-8" do
    assert there_and_back(<<"a", 0xFF, "b", 0xC3>>) == "a\uFFFDb\uFFFD"
    assert there_and_back(<<0xED, 0xA0, 0x80>>) == "\uFFFD\uFFFD\uFFFD"
    assert there_and_back(for(n <- 0..255, into: "", do: <<n>>)) |> String.valid?()
  end

  test "raises on a term that is none of JSON" do
    for term <- [:atom, {1, 2}, self(), %{a: 1}, <<1::1>>, 1..2] do
      assert_raise FunctionClauseError, fn -> text(term) end
    end
  end
end
