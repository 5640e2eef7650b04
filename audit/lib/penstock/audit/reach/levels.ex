defmodule Penstock.Audit.Reach.Levels do
  @moduledoc false
  # Finds who decides the values of each parameter, and how many elements they have.

  alias Penstock.Audit.{Entries, Function, Origin}

  @doc "Returns the level of each parameter of each function, as its number of elements and as its value."
  def params(reach) do
    initial = Map.new(reach.functions, fn {mfa, {module, function}} -> {mfa, initial(reach, mfa, module, function)} end)
    round(Map.keys(reach.functions), initial, reach)
  end

  defp initial(reach, {_module, _name, arity} = mfa, module, function) do
    level =
      cond do
        Entries.tool?(module) -> Origin.own_level()
        function.kind == :route -> Origin.outside_level()
        Entries.startup?(function) or function.impl? -> Origin.own_level()
        function.kind in [:defp, :defmacrop, :defmacro] -> Origin.fixed_level()
        Map.has_key?(reach.callers, mfa) and foreign_callers?(reach, mfa) -> Origin.fixed_level()
        reach.closed? -> Origin.own_level()
        true -> Origin.argument_level()
      end

    levels = Entries.levels(module, function)

    0..(arity - 1)//1
    |> Map.new(fn index ->
      level = if levels, do: levels |> Enum.at(index, :own) |> Entries.level(), else: level
      {index, {level, level}}
    end)
  end

  # Functions that call each other count as called only if a function outside of their circle calls one.
  defp foreign_callers?(reach, mfa) do
    Enum.any?(Map.fetch!(reach.callers, mfa), fn {from, _call} -> reach.components[from] != reach.components[mfa] end)
  end

  # Levels only rise, and there are four, so the rounds end.
  defp round([], params, _reach), do: params

  defp round(queue, params, reach) do
    {params, changed} =
      Enum.reduce(queue, {params, MapSet.new()}, fn from, {params, changed} ->
        own = Map.fetch!(params, from)

        Enum.reduce(Map.fetch!(reach.edges, from), {params, changed}, fn {to, call}, {params, changed} ->
          before = Map.fetch!(params, to)
          raised = raise_levels(before, call, own)
          if raised == before, do: {params, changed}, else: {Map.put(params, to, raised), MapSet.put(changed, to)}
        end)
      end)

    round(MapSet.to_list(changed), params, reach)
  end

  # A limit in front of a call bounds how many elements its arguments have, and a list their values.
  defp raise_levels(levels, call, own) do
    limited? = Enum.any?(call.frames, &match?({_id, :guard, :limit}, &1))
    listed? = Enum.any?(call.frames, &match?({_id, :guard, :member}, &1))

    call.origins
    |> Enum.with_index()
    |> Enum.reduce(levels, fn {origin, index}, levels ->
      case levels do
        %{^index => {count, value}} ->
          Map.put(
            levels,
            index,
            {if(limited?, do: count, else: max(count, Origin.count_level(origin, own))),
             if(listed?, do: value, else: max(value, Origin.value_level(origin, own)))}
          )

        _fewer ->
          levels
      end
    end)
  end

  @doc "Returns the level of a call's argument at `index`, as its value."
  def value(reach, function, call, index), do: level(reach, function, call, index, &Origin.value_level/2)

  @doc "Returns the level of the number of elements of a call's argument at `index`."
  def count(reach, function, call, index), do: level(reach, function, call, index, &Origin.count_level/2)

  defp level(reach, function, call, index, of) do
    case Enum.at(call.origins, index) do
      nil -> Origin.fixed_level()
      origin -> of.(origin, Map.get(reach.params, Function.mfa(function), %{}))
    end
  end
end
