defmodule Penstock.Audit.JSON do
  @moduledoc false
  # Writes JSON, since OTP 25 and 26 have no encoder. An object is a list of `{key, value}` in
  # `{:object, pairs}`, so that its keys keep their order, and equal results are equal texts.

  @type value ::
          nil | boolean | number | String.t() | atom | [value] | {:object, [{atom | String.t(), value}]}

  @indent "  "

  @doc "Returns the text of a value, with two spaces for each level."
  @spec encode(value) :: iodata
  def encode(value), do: [value(value, "\n"), "\n"]

  defp value(nil, _line), do: "null"
  defp value(boolean, _line) when is_boolean(boolean), do: Atom.to_string(boolean)
  defp value(atom, _line) when is_atom(atom), do: atom |> Atom.to_string() |> string()
  defp value(number, _line) when is_integer(number), do: Integer.to_string(number)
  defp value(text, _line) when is_binary(text), do: string(text)
  defp value({:object, []}, _line), do: "{}"
  defp value({:object, pairs}, line), do: block("{", pairs, "}", line, &pair/2)
  defp value([], _line), do: "[]"
  defp value(list, line) when is_list(list), do: block("[", list, "]", line, &value/2)

  defp pair({key, value}, line), do: [string(to_string(key)), ": ", value(value, line)]

  defp block(open, items, close, line, fun) do
    inner = line <> @indent
    [open, inner, items |> Enum.map(&fun.(&1, inner)) |> Enum.intersperse([",", inner]), line, close]
  end

  defp string(text), do: [?", for(<<char::utf8 <- valid(text)>>, do: escape(char)), ?"]

  # A file of the project may have any bytes.
  defp valid(text), do: if(String.valid?(text), do: text, else: replace(text, ""))

  defp replace("", done), do: done
  defp replace(<<char::utf8, rest::binary>>, done), do: replace(rest, <<done::binary, char::utf8>>)
  defp replace(<<_byte, rest::binary>>, done), do: replace(rest, <<done::binary, 0xFFFD::utf8>>)

  defp escape(?"), do: "\\\""
  defp escape(?\\), do: "\\\\"
  defp escape(?\n), do: "\\n"
  defp escape(?\r), do: "\\r"
  defp escape(?\t), do: "\\t"
  defp escape(char) when char < 0x20 or char == 0x7F, do: :io_lib.format("\\u~4.16.0b", [char])
  defp escape(char), do: <<char::utf8>>
end
