defmodule Penstock.Audit.Rules.MultipliedLimit do
  @moduledoc false
  # PS023: a limit on connections that holds for each acceptor.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.{Literal, Server}
  alias Penstock.Audit.Rules.{Configuration, ExcessiveLimit}
  alias Penstock.Audit.{Finding, Rewrite}

  @impl true
  def id, do: "PS023"

  @impl true
  def title, do: "A limit on connections that multiplies"

  @impl true
  def why do
    "Thousand Island keeps num_connections for each acceptor, and ranch 2 keeps max_connections for each supervisor of " <>
      "connections. The server admits the product."
  end

  @impl true
  def default_severity, do: :medium

  @impl true
  def check_file(file) do
    for server <- file.facts.servers,
        {path, per, times, count, given?} <- List.wrap(Configuration.connections(server, file.facts.ranch)),
        is_integer(per) and is_integer(count) and count > 1 and per > 0,
        setting = Server.setting(server, path),
        setting.file == file.path,
        not excessive?(file, setting),
        do: finding(file, server, setting, {List.last(path), per, times, count, given?})
  end

  # PS024 tells of a product that exceeds the process limit.
  defp excessive?(file, setting), do: Enum.any?(ExcessiveLimit.check_file(file), &same?(&1, setting))
  defp same?(%Finding{line: line, column: column}, setting), do: {line, column} == {setting.line, setting.column}

  # A project that sets both numbers may mean the product.
  defp finding(file, server, setting, {name, per, times, count, given?}) do
    default = if given?, do: "", else: ", the default"

    message =
      "#{file.path} sets #{name} of #{Configuration.name(server)} to #{Configuration.show(per)}, which admits up to " <>
        "#{Configuration.show(per * count)}, since #{times} is #{Configuration.show(count)}#{default}"

    severity = if given?, do: :low, else: :medium
    rewrite = if given?, do: nil, else: rewrite(file, setting, name, per, count)
    Configuration.finding(__MODULE__, file, setting, severity, message, [name, per, count], rewrite)
  end

  defp rewrite(file, setting, :max_connections, _per, _count),
    do: Rewrite.line(file.lines, setting.line, "max_connections: ", "num_conns_sups: 1, max_connections: ")

  defp rewrite(file, setting, :num_connections, per, count) when rem(per, count) == 0 do
    with {:__block__, meta, [_number]} <- setting.node, token when is_binary(token) <- meta[:token] do
      if Literal.line(setting.node) == setting.line,
        do: Rewrite.line(file.lines, setting.line, "num_connections: #{token}", "num_connections: #{div(per, count)}")
    else
      _other -> nil
    end
  end

  defp rewrite(_file, _setting, _name, _per, _count), do: nil
end
