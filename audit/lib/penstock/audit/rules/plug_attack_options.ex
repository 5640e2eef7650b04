defmodule Penstock.Audit.Rules.PlugAttackOptions do
  @moduledoc false
  # PS026: PlugAttack itself as a plug, with options that it does not have.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.Literal
  alias Penstock.Audit.Rules.Configuration

  @impl true
  def id, do: "PS026"

  @impl true
  def title, do: "PlugAttack used as a plug"

  @impl true
  def why do
    "PlugAttack is no plug and takes no limits as options. A module of one's own has use PlugAttack and its rules, and that " <>
      "module is the plug; without one nothing limits the requests."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check_file(%{kind: kind} = file) when kind in [:endpoint, :application] do
    for {node, meta} <- Literal.collect(file.quoted, &plug/1) do
      place = %{line: meta[:line], column: meta[:column]}
      message = "#{file.path} plugs PlugAttack itself, which has no init/1 and no call/2, so it limits nothing"
      Configuration.finding(__MODULE__, file, place, :high, message, node)
    end
  end

  def check_file(_file), do: []

  defp plug({:plug, meta, [{:__aliases__, _, [:PlugAttack]} | _options]} = node), do: [{node, meta}]
  defp plug(_node), do: []
end
