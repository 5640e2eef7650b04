defmodule Penstock.JSONReader do
  # A strict decoder of JSON (RFC 8259), for tests. It refuses what lenient decoders let pass:
  # keys that come twice, bytes that are no UTF-8, control characters, half surrogate pairs, and
  # text that follows.
  @moduledoc false

  import Bitwise

  @doc "Returns the term of a text; raises if the text is no JSON."
  def decode!(text) do
    text = IO.iodata_to_binary(text)
    true = String.valid?(text)
    {value, rest} = value(space(text))
    "" = space(rest)
    value
  end

  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("\"" <> rest), do: string(rest, "")
  defp value("[" <> rest), do: array(space(rest))
  defp value("{" <> rest), do: object(space(rest))
  defp value(rest), do: number(rest)

  @number ~r/\A-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/

  defp number(text) do
    [number | parts] = Regex.run(@number, text)
    rest = binary_part(text, byte_size(number), byte_size(text) - byte_size(number))
    {if(parts == [], do: String.to_integer(number), else: float(number, parts)), rest}
  end

  # Erlang's own parser needs a fraction.
  defp float(number, ["" | _exponent]), do: number |> String.replace(~r/[eE]/, ".0e") |> String.to_float()
  defp float(number, _parts), do: String.to_float(number)

  defp array("]" <> rest), do: {[], rest}
  defp array(text), do: elements(text, [])

  defp elements(text, done) do
    {value, rest} = value(text)

    case space(rest) do
      "," <> rest -> elements(space(rest), [value | done])
      "]" <> rest -> {Enum.reverse([value | done]), rest}
    end
  end

  defp object("}" <> rest), do: {%{}, rest}
  defp object(text), do: members(text, %{})

  defp members("\"" <> text, done) do
    {key, rest} = string(text, "")
    false = is_map_key(done, key)
    ":" <> rest = space(rest)
    {value, rest} = value(space(rest))
    done = Map.put(done, key, value)

    case space(rest) do
      "," <> rest -> members(space(rest), done)
      "}" <> rest -> {done, rest}
    end
  end

  @escapes %{?" => ?", ?\\ => ?\\, ?/ => ?/, ?b => ?\b, ?f => ?\f, ?n => ?\n, ?r => ?\r, ?t => ?\t}

  defp string("\"" <> rest, done), do: {done, rest}

  defp string(<<?\\, ?u, hex::binary-size(4), rest::binary>>, done) do
    case {String.to_integer(hex, 16), rest} do
      {high, <<?\\, ?u, hex::binary-size(4), rest::binary>>} when high in 0xD800..0xDBFF ->
        low = String.to_integer(hex, 16)
        true = low in 0xDC00..0xDFFF
        string(rest, <<done::binary, 0x10000 + ((high &&& 0x3FF) <<< 10) + (low &&& 0x3FF)::utf8>>)

      {char, rest} ->
        string(rest, <<done::binary, char::utf8>>)
    end
  end

  defp string(<<?\\, escape, rest::binary>>, done), do: string(rest, <<done::binary, Map.fetch!(@escapes, escape)>>)
  defp string(<<char::utf8, rest::binary>>, done) when char >= 0x20, do: string(rest, <<done::binary, char::utf8>>)

  defp space(<<char, rest::binary>>) when char in [?\s, ?\t, ?\r, ?\n], do: space(rest)
  defp space(text), do: text
end
