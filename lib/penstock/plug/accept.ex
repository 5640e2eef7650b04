defmodule Penstock.Plug.Accept do
  # Chooses the media type of an answer by the header `accept`. Runs in the process that serves the
  # request, so its work is bounded.
  @moduledoc false

  # The bytes and the media ranges of the header that are read.
  @most_bytes 1_024
  @most_ranges 16

  # Returns the type that the client prefers: text only if it ranks before JSON. Programs commonly
  # accept anything, browsers name text first.
  @spec prefers(map) :: :problem | :text
  def prefers(conn) do
    case List.keyfind(conn.req_headers, "accept", 0) do
      {_name, accept} -> best(ranges(accept))
      nil -> :problem
    end
  end

  # Returns the best quality that the header gives to one of the types, in thousandths: 0 if it names
  # none of them. With `:any`, the range `*/*` counts as well for types that are not named. A client
  # without the header takes any type.
  @spec quality(String.t() | nil, [String.t()], :any | :named) :: 0..1_000
  def quality(nil, types, which), do: quality("*/*", types, which)
  def quality(accept, types, :any), do: quality(ranges(accept), types)
  def quality(accept, types, :named), do: accept |> ranges() |> Enum.reject(&match?({"*/*", _q}, &1)) |> quality(types)

  defp best(ranges) do
    if quality(ranges, ["text/plain", "text/html", "text/*"]) > quality(ranges, json()), do: :text, else: :problem
  end

  defp json, do: ["application/problem+json", "application/json", "application/*"]

  # The quality of a kind is the best one of its ranges; `*/*` counts for a kind without any.
  defp quality(ranges, types) do
    case for({type, quality} <- ranges, type in types, do: quality) do
      [] -> Enum.find_value(ranges, 0, fn {type, quality} -> type == "*/*" && quality end)
      qualities -> Enum.max(qualities)
    end
  end

  defp ranges(accept) do
    accept
    |> binary_part(0, min(byte_size(accept), @most_bytes))
    |> :binary.split(",", [:global])
    |> Enum.take(@most_ranges)
    |> Enum.map(&range/1)
  end

  defp range(text) do
    [type | parameters] = text |> :binary.split(";", [:global]) |> Enum.map(&trim/1)
    {lower(type), Enum.find_value(parameters, 1000, &quality/1)}
  end

  # Returns a quality in thousandths; nil for other parameters. A quality that cannot be read counts
  # as none.
  defp quality(<<q, ?=, number::binary>>) when q in ~c"qQ", do: thousandths(number)
  defp quality(_other), do: nil

  defp thousandths("1"), do: 1_000
  defp thousandths(<<"1.", zeros::binary>>) when zeros in ["", "0", "00", "000"], do: 1_000

  defp thousandths(<<"0.", digits::binary>>) when byte_size(digits) in 1..3 do
    if for(<<digit <- digits>>, digit not in ?0..?9, do: digit) == [],
      do: digits |> String.pad_trailing(3, "0") |> String.to_integer(),
      else: 0
  end

  defp thousandths(_no_quality), do: 0

  defp trim(text), do: String.trim(text)
  defp lower(text), do: String.downcase(text, :ascii)
end
