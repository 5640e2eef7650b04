defmodule Penstock.Audit.Condition do
  @moduledoc false
  # Which bound a condition looks at, if any:
  #
  #   * `:limit` - a count against a limit, or a gate
  #   * `:unset` - one thing that is there at most once, such as a field of the state
  #   * `:exists` - one thing for each key
  #   * `:member` - a value that is one of a list in the text, which bounds the values alone

  alias Penstock.Audit.{Known, Scope}

  @sizes [:map_size, :length, :count, :size]
  @comparisons [:<, :>, :<=, :>=]
  @strength %{nil => 0, member: 1, exists: 2, unset: 3, limit: 4}
  # A comparison with one of these asks whether there is anything at all.
  @trivial [0, 1, ""]

  @doc "Returns the kind of bound in `expression`. `marks` has that of variables, `limits` that of local functions."
  def kind(expression, scope, marks, limits) do
    {_expression, kind} =
      Macro.prewalk(expression, nil, fn
        # The body of a function may look at a limit for its own purposes.
        {:fn, _meta, _clauses}, kind -> {nil, kind}
        node, kind -> {node, stronger(kind, of(node, scope, marks, limits))}
      end)

    kind
  end

  @doc "Returns the kind of bound that patterns and guards of a clause look at."
  def clause(patterns, guards, scope, limits) do
    unset = if Enum.any?(patterns, &unset_pattern?/1), do: :unset
    guards |> Enum.map(&kind(&1, scope, %{}, limits)) |> Enum.reduce(unset, &stronger/2)
  end

  @doc "Returns the bound of a start whose result says, in one of the `clauses`, that it ran already."
  def started(clauses) do
    {_clauses, found?} =
      Macro.prewalk(for({:->, _, [patterns, _body]} <- clauses, do: patterns), false, fn node, found? ->
        {node, found? or node == :already_started}
      end)

    if found?, do: :exists
  end

  @doc "Returns the stronger of two bounds."
  def stronger(a, b), do: if(@strength[a] >= @strength[b], do: a, else: b)

  defp of({operator, _meta, [left, right]}, _scope, _marks, _limits) when operator in @comparisons do
    if trivial?(left) or trivial?(right), do: nil, else: :limit
  end

  defp of({operator, _meta, [left, right]}, _scope, _marks, _limits) when operator in [:==, :===, :!=, :!==] do
    if (right == nil and field?(left)) or (left == nil and field?(right)), do: :unset
  end

  defp of({:is_nil, _meta, [value]}, _scope, _marks, _limits), do: if(field?(value), do: :unset)

  defp of({:in, _meta, [_value, {name, _, context}]}, _scope, _marks, _limits) when is_atom(name) and is_atom(context),
    do: :exists

  defp of({:in, _meta, [_value, _list]}, _scope, _marks, _limits), do: :member

  # A difference from a size is the room that is left, as `@most - map_size(running)`.
  defp of({:-, _meta, [_most, {name, _, [_collection]}]}, _scope, _marks, _limits) when name in @sizes, do: :limit
  defp of({:-, _meta, [_most, {{:., _, [_, name]}, _, [_]}]}, _scope, _marks, _limits) when name in @sizes, do: :limit

  # A key in the text is no key of outsiders: `params["file"]` asks whether a field is given.
  defp of({{:., _, [Access, :get]}, _meta, [_subject, key]}, _scope, _marks, _limits),
    do: if(is_atom(key) or is_binary(key), do: nil, else: :exists)

  defp of({{:., _, [{:__aliases__, _, [module]}, name]}, _meta, args}, _scope, _marks, _limits)
       when module in [:Map, :Keyword] and name in [:get, :fetch, :fetch!, :has_key?, :pop] and is_list(args) do
    if Enum.any?(args, &is_binary/1) or (module == :Keyword and Enum.any?(args, &is_atom/1)), do: nil, else: :exists
  end

  defp of({{:., _, [{:__aliases__, _, [:Process]}, :whereis]}, _meta, [name]}, _scope, _marks, _limits) do
    if literal?(name), do: :unset, else: :exists
  end

  defp of({{:., _, [module, name]}, meta, args}, scope, _marks, _limits) when is_atom(name) and is_list(args) do
    if args == [] and meta[:no_parens] do
      if Known.limit_name?(name), do: :limit
    else
      {module, _name, arity} = Scope.remote(scope, module, name, length(args), meta)
      if module, do: Known.guard({module, name, arity}), else: Known.guard({nil, name, arity})
    end
  end

  defp of({name, _meta, context}, _scope, marks, _limits) when is_atom(name) and is_atom(context) do
    marks[name] || if Known.limit_name?(name), do: :limit
  end

  defp of({name, _meta, args}, _scope, _marks, limits) when is_atom(name) and is_list(args) do
    limits[{name, length(args)}] || Known.guard({nil, name, length(args)})
  end

  defp of(_node, _scope, _marks, _limits), do: nil

  @doc "Returns whether the expression reads one field, as in `state.task`."
  def field?({{:., _, [subject, name]}, meta, []}) when is_atom(name) do
    meta[:no_parens] == true and not match?({:__aliases__, _, _}, subject)
  end

  def field?(_expression), do: false

  # As in `%{task: nil} = state`.
  defp unset_pattern?(pattern) do
    {_pattern, found?} =
      Macro.prewalk(pattern, false, fn
        {:%{}, _meta, pairs} = node, found? -> {node, found? or Enum.any?(pairs, &match?({_key, nil}, &1))}
        node, found? -> {node, found?}
      end)

    found?
  end

  defp literal?({:__aliases__, _, _}), do: true
  defp literal?({:__MODULE__, _, _}), do: true
  defp literal?({:@, _, _}), do: true
  defp literal?(value), do: is_atom(value)

  defp trivial?({:-, _, [1]}), do: true
  defp trivial?(value), do: value in @trivial
end
