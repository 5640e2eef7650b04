defmodule Penstock.StructuredField do
  # Parses a list of structured fields (RFC 9651): quoted strings with parameters, as in
  # `"name";q=100;w=60, "other";q=5`. Raises on anything else.
  @moduledoc false

  @doc "Returns `[{name, %{parameter => value}}]`."
  def parse!(text) do
    {item, rest} = item(text)

    case String.trim_leading(rest) do
      "" -> [item]
      "," <> rest -> [item | rest |> String.trim_leading() |> parse!()]
    end
  end

  defp item(<<?", rest::binary>>) do
    {name, rest} = string(rest, "")
    {parameters, rest} = parameters(rest, %{})
    {{name, parameters}, rest}
  end

  defp string(<<?\\, char, rest::binary>>, name) when char in [?", ?\\], do: string(rest, name <> <<char>>)
  defp string(<<?", rest::binary>>, name), do: {name, rest}
  defp string(<<char, rest::binary>>, name) when char in 0x20..0x7E and char != ?\\, do: string(rest, name <> <<char>>)

  defp parameters(";" <> rest, parameters) do
    [_all, key, value] = Regex.run(~r/^ *([a-z*][a-z0-9_.*-]*)=(0|[1-9][0-9]{0,14}|"[^"\\]*")/, rest)
    size = byte_size(hd(Regex.run(~r/^ */, rest))) + byte_size(key) + 1 + byte_size(value)
    if Map.has_key?(parameters, key), do: raise("the parameter #{key} comes twice")
    rest = binary_part(rest, size, byte_size(rest) - size)
    parameters(rest, Map.put(parameters, key, value(value)))
  end

  defp parameters(rest, parameters), do: {parameters, rest}

  defp value(<<?", rest::binary>>), do: String.trim_trailing(rest, "\"")
  defp value(number), do: String.to_integer(number)
end
