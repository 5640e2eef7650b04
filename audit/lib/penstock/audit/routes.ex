defmodule Penstock.Audit.Routes do
  @moduledoc false
  # Which modules the router of a Phoenix application serves to everyone, and which to administrators or
  # developers alone: by the path, the pipelines and the options of the scopes around a route.

  alias Penstock.Audit.Scope

  @verbs [:get, :post, :put, :patch, :delete, :options, :head, :match, :live, :resources, :forward, :socket]
  @blocks [:scope, :live_session, :if, :unless, :resources]
  # Longer words have some of these in them: badminton, staffing, cooperators.
  @restricted ~r/admin(?!ton)|super_?user|staff(?!ing)|back_?office|internal|dev_routes|(?<!co)operator/i

  @doc "Returns `{restricted, open}`, the modules of routes in the body of a router."
  def of(body, scope) do
    {_restricted?, found} = block(body, {[], false}, scope, [])
    {restricted, open} = Enum.split_with(found, &elem(&1, 1))
    {Enum.map(restricted, &elem(&1, 0)), Enum.map(open, &elem(&1, 0))}
  end

  @doc "Returns whether a path or a name is one for administrators."
  def restricted?(text), do: text =~ @restricted

  # A pipeline counts for the routes after it.
  defp block(body, {prefix, restricted?}, scope, found) do
    Enum.reduce(expressions(body), {restricted?, found}, fn expression, {restricted?, found} ->
      expression(expression, {prefix, restricted?}, scope, found)
    end)
  end

  defp expression({:pipe_through, _meta, [pipelines | _]}, {_prefix, restricted?}, _scope, found),
    do: {restricted? or text?(pipelines), found}

  defp expression({name, _meta, args} = route, {prefix, restricted?} = place, scope, found) when is_list(args) do
    found = if name in @verbs, do: route(route, place, scope, found), else: found

    case List.last(args) do
      [{:do, _body} | _] = blocks when name in @blocks ->
        options = Enum.drop(args, -1)
        prefix = if name == :scope, do: prefix(prefix, options), else: prefix

        {restricted?,
         Enum.reduce(blocks, found, fn {key, body}, found ->
           inner = {prefix, restricted? or restricted?(name, key, options)}
           body |> block(inner, scope, found) |> elem(1)
         end)}

      _none ->
        {restricted?, found}
    end
  end

  defp expression(_other, {_prefix, restricted?}, _scope, found), do: {restricted?, found}

  defp route({_verb, _meta, [path, {:__aliases__, _, parts} = expression | _]}, {prefix, restricted?}, scope, found) do
    restricted? = restricted? or (is_binary(path) and restricted?(path))
    module = if prefix == [], do: Scope.module(scope, expression), else: concat(prefix, parts, scope)
    if module, do: [{module, restricted?} | found], else: found
  end

  defp route(_route, _place, _scope, found), do: found

  defp concat(prefix, parts, scope) do
    if Enum.all?(prefix ++ parts, &is_atom/1), do: Scope.module(scope, {:__aliases__, [], prefix ++ parts})
  end

  # Whether the branch or the scope is one for administrators or developers.
  defp restricted?(name, key, [condition]) when name in [:if, :unless] do
    holds? = key == :do == (name == :if)

    case production(condition) do
      nil -> holds? and text?(condition)
      value -> value != holds?
    end
  end

  defp restricted?(_name, _key, options), do: text?(options)

  # The value of a condition on the environment in production, or nil.
  defp production({operator, _, [{{:., _, [{:__aliases__, _, [:Mix]}, :env]}, _, []}, value]}) do
    cond do
      operator in [:==, :===] -> value == :prod
      operator in [:!=, :!==] -> value != :prod
      operator == :in and is_list(value) -> :prod in value
      true -> nil
    end
  end

  defp production(_condition), do: nil

  defp prefix(outer, options) do
    Enum.find_value(options, outer, fn
      {:__aliases__, _meta, parts} -> outer ++ parts
      [{key, _value} | _] = options when is_atom(key) -> named(outer, Keyword.fetch(options, :alias))
      _other -> nil
    end)
  end

  # An alias may be an expression, as `alias: @web`, which names no module here.
  defp named(outer, {:ok, {:__aliases__, _meta, parts}}), do: outer ++ parts
  defp named(_outer, {:ok, false}), do: []
  defp named(_outer, _other), do: nil

  defp text?(expression), do: expression |> Macro.to_string() |> restricted?()

  defp expressions({:__block__, _meta, expressions}), do: expressions
  defp expressions(nil), do: []
  defp expressions(expression), do: [expression]
end
