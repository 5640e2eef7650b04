defmodule Penstock.Telemetry.Label do
  # Makes the labels of metrics from the metadata of events. Keys and processes never become labels:
  # their number has no bound.
  @moduledoc false

  # Returns the metadata with a text in place of the gate. Handlers of metrics call this.
  @spec of(map) :: map
  def of(%{gate: gate} = metadata), do: %{metadata | gate: name(gate)}
  def of(metadata), do: metadata

  # Returns the name of a gate as Elixir shows it. Reporters write labels into formats in which quotes,
  # backslashes and control characters have a meaning, and not all of them escape these. So these
  # characters, and `%`, are percent-encoded.
  @spec name(atom) :: String.t()
  def name(nil), do: "unnamed"

  def name(name) do
    text = inspect(name)
    if text =~ ~r/["\\%\x00-\x1f\x7f]/, do: encode(text, ""), else: text
  end

  defp encode(<<char, rest::binary>>, text) when char in [?", ?\\, ?%, 0x7F] or char < 0x20,
    do: encode(rest, text <> "%" <> Base.encode16(<<char>>))

  defp encode(<<char, rest::binary>>, text), do: encode(rest, <<text::binary, char>>)
  defp encode("", text), do: text
end
