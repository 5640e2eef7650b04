defmodule Penstock.View.JSON do
  # Encodes plain terms as JSON, since OTP has an encoder only from version 27 on. The text is
  # also safe inside a page: no character of it can end a script or begin a tag.
  #
  # The keys of an object are sorted, because the order of a map differs from one OTP to the next.
  @moduledoc false

  import Bitwise

  @typedoc "`{:json, iodata}` is text that is JSON already."
  @type term_of_json ::
          nil | boolean | number | String.t() | [term_of_json] | %{String.t() => term_of_json} | {:json, iodata}

  # The characters beyond ASCII that end a line in older scripts.
  @line_ends [0x2028, 0x2029]
  # Stands for a byte that is no part of a character.
  @replacement 0xFFFD

  @spec encode(term_of_json) :: iodata
  def encode(nil), do: "null"
  def encode(true), do: "true"
  def encode(false), do: "false"
  def encode({:json, text}), do: text
  def encode(n) when is_integer(n), do: Integer.to_string(n)
  def encode(number) when is_float(number), do: :erlang.float_to_binary(number, [:short])
  def encode(text) when is_binary(text), do: string(text)
  def encode([]), do: "[]"
  def encode([first | rest]), do: [?[, encode(first), Enum.map(rest, &[?, | encode(&1)]), ?]]

  def encode(%{} = map) when not is_struct(map) do
    members = map |> Enum.sort() |> Enum.map(fn {key, value} -> [string(key), ?: | encode(value)] end)
    [?{, Enum.intersperse(members, ?,), ?}]
  end

  defp string(text) when is_binary(text), do: [?", if(plain?(text), do: text, else: escape(text, [])), ?"]

  defguardp is_plain(char) when char >= 0x20 and char < 0x7F and char not in [?", ?\\, ?<, ?>, ?&]

  # Most texts need no escape, and stay as they are.
  defp plain?(<<byte, rest::binary>>) when is_plain(byte), do: plain?(rest)
  defp plain?(rest), do: rest == ""

  defp escape(<<char::utf8, rest::binary>>, done), do: escape(rest, [done | char(char)])
  defp escape(<<_no_character, rest::bitstring>>, done), do: escape(rest, [done | <<@replacement::utf8>>])
  defp escape(_end, done), do: done

  defp char(char) when is_plain(char), do: [char]
  defp char(?"), do: ~S(\")
  defp char(?\\), do: ~S(\\)
  defp char(char) when char >= 0xA0 and char not in @line_ends, do: <<char::utf8>>
  defp char(char), do: [~S(\u) | for(at <- [12, 8, 4, 0], do: digit(char >>> at &&& 0xF))]

  defp digit(n) when n < 10, do: ?0 + n
  defp digit(n), do: ?a - 10 + n
end
