defmodule Penstock.Audit.Rules.LongPolling do
  @moduledoc false
  # PS027: a socket of Phoenix that is open to long polling.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.Literal
  alias Penstock.Audit.Rules.Configuration

  @impl true
  def id, do: "PS027"

  @impl true
  def title, do: "A socket that is open to long polling"

  @impl true
  def why do
    "Each plain GET on the path of long polling creates a process that outlives the request. Penstock.Socket bounds them; " <>
      "longpoll: false closes the path."
  end

  @impl true
  def default_severity, do: :low

  @impl true
  def check_file(%{kind: :endpoint} = file) do
    for {module, key, value} <- Literal.collect(file.quoted, &socket/1), not guarded?(module, file.facts) do
      place = %{line: Literal.line(key), column: Literal.column(key)}
      name = Macro.to_string(module)

      message =
        "#{file.path} opens the socket #{name} to long polling, and nothing bounds how many processes that creates"

      Configuration.finding(__MODULE__, file, place, :low, message, {module, value})
    end
  end

  def check_file(_file), do: []

  defp guarded?({:__aliases__, _meta, parts}, facts), do: List.last(parts) in facts.guarded
  defp guarded?(_module, _facts), do: false

  defp socket({:socket, _meta, [_path, module, options]}) do
    for {:longpoll, key, value} <- Literal.pairs(options), Literal.value(value) not in [{:ok, false}, {:ok, nil}] do
      {module, key, value}
    end
  end

  defp socket(_node), do: []
end
