defmodule Penstock.Audit.Rules.RecursiveSpawn do
  @moduledoc false
  # PS003: a function that spawns itself, directly or through others.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Function
  alias Penstock.Audit.Rules.Code

  @impl true
  def id, do: "PS003"

  @impl true
  def title, do: "A function that spawns itself"

  @impl true
  def why,
    do: "Each process creates further ones that do the same, so their number grows until the process table is full."

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    functions = if Code.calls(module) == [], do: [], else: Map.values(module.functions)
    Enum.flat_map(functions, &recursive(&1, module))
  end

  # One finding for each place that spawns.
  defp recursive(function, module) do
    reach = module.reach
    mfa = Function.mfa(function)
    component = reach.components[mfa]

    for {to, call} <- Map.get(reach.edges, mfa, []),
        reach.components[to] == component,
        spawned = spawned(call),
        spawned != nil,
        not guarded?(call) do
      {spawned, to, call}
    end
    |> Enum.uniq_by(fn {{_mfa, line, column}, _to, _call} -> {line, column} end)
    |> Enum.map(fn {{spawner, line, column}, to, call} ->
      place = Enum.find(function.calls, call, &(&1.mfa == spawner and &1.line == line and &1.column == column))
      back = if to == mfa, do: "itself", else: "#{Code.called(to)}, which leads back to it,"

      message =
        "runs #{back} in a process that #{Code.called(spawner)} creates, so processes create further ones without an end"

      Code.finding(__MODULE__, module, function, place, severity(call, to, function), message)
    end)
  end

  defp spawned(call), do: Enum.find_value(call.frames, fn {_id, kind, data} -> if kind == :spawned, do: data end)

  defp guarded?(call) do
    Enum.any?(call.frames, fn {_id, kind, data} -> kind == :gate or (kind == :guard and data in [:limit, :unset]) end)
  end

  # A number or a list that gets smaller ends the recursion, after as many processes as it says.
  # A way back through other modules often has conditions that the text does not show.
  defp severity(call, {name, _, _}, function) do
    bounded? = name != function.module or Enum.any?(call.args, &smaller?/1) or length(function.clauses) > 1
    if bounded?, do: :medium, else: :high
  end

  defp smaller?({:-, _meta, [_value, _by]}), do: true
  defp smaller?(_arg), do: false
end
