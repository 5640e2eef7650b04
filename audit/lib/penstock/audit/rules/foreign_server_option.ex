defmodule Penstock.Audit.Rules.ForeignServerOption do
  @moduledoc false
  # PS022: limits of a server by keys that this server does not have, or at a place where it does not
  # look for them.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.Literal
  alias Penstock.Audit.Rules.Configuration

  @limits [:num_acceptors, :max_connections, :num_conns_sups, :num_connections, :acceptors]

  # Paths below which a key stops the server, and the keys.
  @bandit [
    {[], [:transport_options, :protocol_options, :socket_opts, :dispatch, :stream_handlers | @limits]},
    {[:thousand_island_options], [:max_connections, :num_conns_sups, :acceptors, :socket_opts]},
    {[:thousand_island_options, :transport_options], @limits},
    {[:http_2_options], [:max_concurrent_streams]}
  ]
  @thousand_island [
    {[], [:max_connections, :num_conns_sups, :acceptors, :socket_opts]},
    {[:transport_options], @limits}
  ]
  # Plug.Cowboy hands an option that it does not know to the socket, which refuses it.
  @cowboy [
    {[], [:thousand_island_options, :http_2_options | @limits]},
    {[:transport_options], [:num_connections, :acceptors]},
    {[:transport_options, :socket_opts], @limits}
  ]
  @ranch [{[], [:num_connections, :acceptors]}]

  # Cowboy looks at no key here that it does not know.
  @cowboy_ignores [{[:protocol_options], [:num_acceptors, :max_connections, :num_conns_sups]}]

  @impl true
  def id, do: "PS022"

  @impl true
  def title, do: "A limit that the server does not know"

  @impl true
  def why do
    "Bandit, Thousand Island and ranch do not start with a key that they do not have. Among the options of a protocol a " <>
      "limit is ignored, so that nothing bounds the connections."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check_file(file) do
    refused(file, :bandit, @bandit) ++
      refused(file, :thousand_island, @thousand_island) ++
      refused(file, :cowboy, @cowboy) ++ refused(file, :ranch, @ranch) ++ ignored(file)
  end

  defp refused(file, kind, paths) do
    for {path, key, server, setting} <- found(file, kind, paths) do
      message =
        "#{file.path} gives #{Configuration.name(server)} the key #{key}: #{at(path)}, where it has no such key, " <>
          "so the server does not start"

      finding(file, setting, :high, message, path ++ [key], rewrite(file, kind, path, key, setting))
    end
  end

  defp ignored(file) do
    for {path, key, server, setting} <- found(file, :cowboy, @cowboy_ignores) do
      message =
        "#{file.path} gives #{Configuration.name(server)} the key #{key}: #{at(path)}, where it has no effect; " <>
          "it belongs into transport_options:"

      severity = if key == :max_connections, do: :high, else: :medium
      finding(file, setting, severity, message, path ++ [key], nil)
    end
  end

  # A key below one that is refused already is not told again.
  defp found(file, kind, paths) do
    for {path, keys} <- paths,
        key <- keys,
        {server, setting} <- Configuration.with_setting(file, [kind], path ++ [key]) do
      {path, key, server, setting}
    end
  end

  defp finding(file, setting, severity, message, path, rewrite),
    do: Configuration.finding(__MODULE__, file, setting, severity, message, {path, setting.node}, rewrite)

  defp at([]), do: "among its options"
  defp at(path), do: "in #{Enum.map_join(path, " of ", &"#{&1}:")}"

  # `transport_options: [num_acceptors: a, max_connections: m]` of Cowboy as what Bandit calls it.
  defp rewrite(file, :bandit, [], :transport_options, setting) do
    with {:ok, options} when is_list(options) <- setting.value,
         true <-
           Keyword.keyword?(options) and
             Enum.all?(options, fn {key, _} -> key in [:num_acceptors, :max_connections] end),
         acceptors = Keyword.get(options, :num_acceptors, 100),
         most when is_integer(most) and is_integer(acceptors) and acceptors > 0 <- options[:max_connections],
         {last, column} <- Literal.closing(setting.node) do
      before = file |> Configuration.line(setting.line) |> String.slice(0, setting.column - 1)
      later = file |> Configuration.line(last) |> String.slice(column..-1//1)
      each = max(div(most, acceptors), 1)

      %{
        from_line: setting.line,
        to_line: last,
        lines: [before <> "thousand_island_options: [num_acceptors: #{acceptors}, num_connections: #{each}]" <> later]
      }
    else
      _other -> nil
    end
  end

  defp rewrite(_file, _kind, _path, _key, _setting), do: nil
end
