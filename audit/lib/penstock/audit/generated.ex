defmodule Penstock.Audit.Generated do
  @moduledoc false
  # The processes that code of macros creates. The tracer saw these calls, the text does not have
  # them. Each is put where the macro is called; there is no such place for a macro like `use`.

  #
  # Not every version of the compiler tells of them: Elixir 1.18 has no event for a function of Kernel in
  # a quote. So the quotes of the project's own macros are read too, and put at the macros' calls.

  alias Penstock.Audit.{Condition, Known, Scope}

  @doc """
  Returns `{functions, generated}`: the functions with the calls of their macros, and `{line, mfa}` of
  the calls that belong to no place in a function.
  """
  def add(functions, _module, nil), do: {functions, []}

  def add(functions, module, trace) do
    case trace.spawns[module] do
      nil -> {functions, []}
      spawns -> place(functions, spawns, trace)
    end
  end

  defp place(functions, spawns, trace) do
    calls = for {key, function} <- functions, call <- function.calls, do: {call.line, key, call}
    written = MapSet.new(calls, fn {line, _key, call} -> {line, elem(call.mfa, 1)} end)
    by_line = Enum.group_by(calls, &elem(&1, 0))

    spawns
    |> Enum.reject(fn {line, {_module, name, _arity}} -> MapSet.member?(written, {line, name}) end)
    |> Enum.uniq()
    |> Enum.reduce({functions, []}, fn {line, mfa}, {functions, generated} ->
      macros = Map.get(trace.macros, line, MapSet.new())

      case Enum.find(Map.get(by_line, line, []), fn {_line, _key, call} -> MapSet.member?(macros, elem(call.mfa, 1)) end) do
        nil ->
          {functions, [{line, mfa} | generated]}

        {_line, key, call} ->
          call = %{call | mfa: mfa, kind: :macro, args: [], origins: []}
          {Map.update!(functions, key, &%{&1 | calls: [call | &1.calls]}), generated}
      end
    end)
  end

  @doc """
  Returns the calls in the quotes of a macro's body that create processes, as `[mfa]`. There are none if
  the quotes look at a limit, or wait for a process.
  """
  def quoted(body, scope) do
    {_body, quotes} =
      Macro.prewalk(body, [], fn
        {:quote, _meta, args}, quotes when is_list(args) -> {nil, [unpipe(args) | quotes]}
        node, quotes -> {node, quotes}
      end)

    called = called(quotes, scope)

    if Condition.kind(quotes, scope, %{}, %{}) == :limit or Enum.any?(called, &waits?/1),
      do: [],
      else: called |> Enum.filter(&spawn?/1) |> Enum.uniq()
  end

  defp unpipe(quoted) do
    Macro.prewalk(quoted, fn
      {:|>, _meta, [left, {name, meta, args}]} when is_list(args) -> {name, meta, [left | args]}
      node -> node
    end)
  end

  defp called(quotes, scope) do
    {_quotes, called} =
      Macro.prewalk(quotes, [], fn
        {:unquote, _meta, _args}, called ->
          {nil, called}

        {{:., _, [subject, name]}, meta, args} = node, called when is_atom(name) and is_list(args) ->
          {node, [Scope.remote(scope, subject, name, length(args), meta) | called]}

        {name, meta, args} = node, called when is_atom(name) and is_list(args) ->
          {node, [Scope.local(scope, name, length(args), meta) | called]}

        node, called ->
          {node, called}
      end)

    called
  end

  defp waits?({_module, :receive, 1}), do: true
  defp waits?(mfa), do: Known.await?(mfa) or Known.gate?(mfa)

  @doc "Returns the modules, where a call of a macro of theirs has what the macro's quotes create."
  def inline(modules) do
    macros =
      for module <- modules,
          {{name, arity}, %{quoted: [_ | _] = quoted}} <- module.functions,
          into: %{},
          do: {{module.name, name, arity}, quoted}

    if macros == %{}, do: modules, else: Enum.map(modules, &inline(&1, macros))
  end

  defp inline(module, macros) do
    functions = Map.new(module.functions, fn {key, function} -> {key, expand(function, module, macros)} end)
    %{module | functions: functions}
  end

  defp expand(function, module, macros) do
    known = for call <- function.calls, into: MapSet.new(), do: {call.line, call.mfa}

    made =
      for call <- function.calls,
          mfa <- macro(call.mfa, module, macros),
          not MapSet.member?(known, {call.line, mfa}),
          do: %{call | mfa: mfa, kind: :macro, args: [], origins: []}

    %{function | calls: made ++ function.calls}
  end

  defp macro({nil, name, arity}, module, macros),
    do: Enum.find_value([module.name | module.imports], [], &macros[{&1, name, arity}])

  defp macro(mfa, _module, macros), do: Map.get(macros, mfa, [])

  @doc "Returns whether the tracer's event is one that this module places."
  def spawn?(mfa), do: Known.spawner(mfa) != nil
end
