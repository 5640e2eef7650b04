defmodule Penstock.Audit.Rules.UnlimitedHTTP2Streams do
  @moduledoc false
  # PS025: Bandit without a bound on the streams of a connection by HTTP/2.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.Server
  alias Penstock.Audit.Rules.Configuration

  @settings [:http_2_options, :default_local_settings]
  @limit "http_2_options: [default_local_settings: [max_concurrent_streams: 100]]"

  @impl true
  def id, do: "PS025"

  @impl true
  def title, do: "Streams by HTTP/2 without a bound"

  @impl true
  def why do
    "Each stream is a process, and Bandit's default of max_concurrent_streams is :infinity: one connection creates tens of " <>
      "thousands before a plug sees a request, and no limit on connections counts them."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check_file(file) do
    for %{kind: :bandit, file: path} = server <- file.facts.servers,
        path == file.path and not server.open? and unlimited?(server),
        do: finding(file, server)
  end

  defp unlimited?(server) do
    case Server.setting(server, @settings ++ [:max_concurrent_streams]) do
      nil -> not off?(server) and not computed?(server)
      %{value: value} -> value == {:ok, :infinity}
    end
  end

  defp off?(server), do: match?(%{value: {:ok, false}}, Server.setting(server, [:http_2_options, :enabled]))

  # Options that code computes may have the limit.
  defp computed?(server) do
    Enum.any?([[:http_2_options], @settings], fn path ->
      match?(%{value: :unknown}, Server.setting(server, path)) and
        not Enum.any?(server.settings, fn {other, _setting} -> other != path and List.starts_with?(other, path) end)
    end)
  end

  # In the clear, a client must know that HTTP/2 is spoken, and a proxy in front mostly speaks HTTP/1.1.
  defp finding(file, server) do
    severity = if server.scheme == :https, do: :high, else: :medium

    message =
      "#{file.path} starts #{Configuration.name(server)} by #{server.scheme} without a limit on the streams of a connection"

    Configuration.finding(
      __MODULE__,
      file,
      server,
      severity,
      message,
      {server.name, server.scheme},
      rewrite(file, server)
    )
  end

  # A new line below `http: [`.
  defp rewrite(file, server) do
    line = Configuration.line(file, server.line)

    if Server.setting(server, [:http_2_options]) == nil and line =~ ~r/^\s*https?: \[\s*$/ do
      [indent] = Regex.run(~r/^\s*/, line)
      %{from_line: server.line, to_line: server.line, lines: [line, indent <> "  " <> @limit <> ","]}
    end
  end
end
