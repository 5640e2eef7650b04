defmodule Penstock.Audit.Rules.ExcessiveLimit do
  @moduledoc false
  # PS024: a limit above the process limit, or none where one was to be.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.Server
  alias Penstock.Audit.Rules.Configuration

  @impl true
  def id, do: "PS024"

  @impl true
  def title, do: "A limit that the VM cannot keep"

  @impl true
  def why do
    "Each connection, and each child, is at least one process. A limit above the process limit of the VM is never reached: " <>
      "the process table is full before."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check_file(file) do
    for limit <- limits(file.facts, :all),
        limit.file == file.path,
        finding <- List.wrap(check(limit, file)),
        do: finding
  end

  defp check(%{number: :infinity} = limit, file) do
    message = "#{file.path} sets #{limit.what} to :infinity, so nothing bounds them but the process limit"
    Configuration.finding(__MODULE__, file, limit, :high, message, {limit.what, :infinity})
  end

  defp check(limit, %{facts: %{process_limit: most} = facts} = file) when is_integer(most) and limit.number > most do
    set = if facts.limit_set?, do: "#{Configuration.show(most)} (+P)", else: "#{Configuration.show(most)}, the default"

    message =
      "#{file.path} allows #{limit.what} of #{Configuration.show(limit.number)}#{limit.product}, " <>
        "and the process limit is #{set}"

    severity = if limit.connections?, do: :high, else: :medium
    Configuration.finding(__MODULE__, file, limit, severity, message, {limit.what, limit.number})
  end

  defp check(_limit, _file), do: nil

  @doc "Returns the numbers that bound processes: those of servers and those in the code."
  def limits(facts), do: for(%{number: number} = limit when is_integer(number) <- limits(facts, :all), do: limit)

  defp limits(facts, :all) do
    servers = for server <- facts.servers, limit <- List.wrap(server_limit(server, facts.ranch)), do: limit
    servers ++ for bound <- facts.bounds, do: Map.merge(bound, %{product: "", connections?: false})
  end

  defp server_limit(server, ranch) do
    with {path, per, times, count, _given?} <- Configuration.connections(server, ranch),
         {number, product} <- total(per, times, count) do
      setting = Server.setting(server, path)

      %{
        what: "connections of #{Configuration.name(server)}",
        number: number,
        product: product,
        connections?: true,
        file: setting.file,
        line: setting.line,
        column: setting.column
      }
    else
      _unknown -> nil
    end
  end

  defp total(:infinity, _times, _count), do: {:infinity, ""}
  defp total(per, _times, 1), do: {per, ""}

  defp total(per, times, count) when is_integer(count),
    do: {per * count, " (#{times} #{Configuration.show(count)} × #{Configuration.show(per)})"}

  defp total(_per, _times, _count), do: nil
end
