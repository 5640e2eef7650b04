defmodule Penstock.Audit.Rules.Configuration do
  @moduledoc false
  # Functions that the rules for configuration share.

  alias Penstock.Audit.Config.Server
  alias Penstock.Audit.Finding

  # Acceptors that are started if nothing is set.
  @acceptors %{bandit: 100, thousand_island: 100, cowboy: 100, ranch: 10}

  @doc "Returns the finding of a rule at a place of a file. `expression` is what its fingerprint hashes."
  def finding(rule, %{path: path}, place, severity, message, expression, rewrite \\ nil) do
    %Finding{
      rule: rule.id(),
      severity: severity,
      file: path,
      line: place.line,
      column: place.column,
      message: message,
      why: rule.why(),
      rewrite: rewrite,
      expression: expression
    }
  end

  @doc "Returns the servers whose setting at `path` is in the file, each with that setting."
  def with_setting(file, kinds, path) do
    for %{kind: kind} = server <- file.facts.servers,
        kind in kinds,
        setting = Server.setting(server, path),
        setting != nil and setting.file == file.path,
        do: {server, setting}
  end

  @doc "Returns how a message names a server."
  def name(%{kind: :bandit, name: "Bandit"}), do: "Bandit"
  def name(%{kind: :bandit, name: name}), do: "the Bandit of #{name}"
  def name(%{kind: :cowboy, name: "Plug.Cowboy" <> _rest}), do: "Plug.Cowboy"
  def name(%{kind: :cowboy, name: name}), do: "the Cowboy of #{name}"
  def name(%{name: name}), do: name

  @doc """
  Returns `{path, per, times, count, given?}` of the limit on connections that is set: `per` at `path`,
  for each of `count` `times`, and whether `count` is set too. Returns nil if none is set.
  """
  def connections(server, ranch) do
    case server.kind do
      :bandit -> island(server, [:thousand_island_options])
      :thousand_island -> island(server, [])
      :cowboy -> sockets(server, [:transport_options], ranch)
      :ranch -> sockets(server, [], ranch)
      nil -> nil
    end
  end

  defp island(server, path) do
    with per when per != nil and per != :unknown <- Server.number(server, path ++ [:num_connections], nil) do
      acceptors = path ++ [:num_acceptors]
      count = Server.number(server, acceptors, @acceptors[server.kind])
      {path ++ [:num_connections], per, "num_acceptors", count, Server.setting(server, acceptors) != nil}
    else
      _none -> nil
    end
  end

  # The limit holds for each supervisor of connections; by default there is one for each acceptor.
  defp sockets(server, path, ranch) do
    with per when per != nil and per != :unknown <- Server.number(server, path ++ [:max_connections], nil) do
      acceptors = Server.number(server, path ++ [:num_acceptors], @acceptors[server.kind])
      supervisors = path ++ [:num_conns_sups]
      count = if ranch == :one, do: 1, else: Server.number(server, supervisors, acceptors)
      {path ++ [:max_connections], per, "num_conns_sups", count, Server.setting(server, supervisors) != nil}
    else
      _none -> nil
    end
  end

  @doc "Returns a number with a comma between each three digits."
  def show(:infinity), do: ":infinity"
  def show(number), do: number |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+$)/, ",")

  @doc "Returns the text of a line."
  def line(%{lines: lines}, number), do: elem(lines, number - 1)
end
