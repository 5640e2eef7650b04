defmodule Penstock.Audit.Query do
  @moduledoc false
  # The macros of Ecto's queries. What looks like a call in them, as `count(row.id)`, is one of the
  # database: the program runs the pinned expressions and the source alone.

  @clauses [
    :where,
    :or_where,
    :having,
    :or_having,
    :select,
    :select_merge,
    :order_by,
    :group_by,
    :distinct,
    :join,
    :update,
    :windows,
    :dynamic
  ]
  @joins [:join, :inner_join, :left_join, :right_join, :cross_join, :full_join]

  @doc "Returns whether a call is one of a macro for queries."
  def macro?({Ecto.Query, name, _arity}, _args, _scope), do: name == :from or name in @clauses

  def macro?({nil, :from, _arity}, args, scope), do: Ecto.Query in scope.imports or from?(args)
  def macro?({nil, name, _arity}, _args, scope) when name in @clauses, do: Ecto.Query in scope.imports
  def macro?(_mfa, _args, _scope), do: false

  # A `use` may import the macros.
  defp from?([{:in, _meta, [_names, _source]} | _clauses]), do: true

  defp from?([_source, clauses]) when is_list(clauses),
    do: Keyword.keyword?(clauses) and Enum.any?(clauses, fn {key, _value} -> key in @clauses or key in @joins end)

  defp from?(_args), do: false

  @doc "Returns the expressions that the program runs: the source and the pinned expressions."
  def run([{:in, _meta, [_names, source]} | clauses]), do: [source | pinned(clauses)]
  def run([source | clauses]), do: [source | pinned(clauses)]
  def run([]), do: []

  defp pinned(clauses) do
    {_clauses, pinned} =
      Macro.prewalk(clauses, [], fn
        {:^, _meta, [expression]}, pinned -> {nil, [expression | pinned]}
        node, pinned -> {node, pinned}
      end)

    Enum.reverse(pinned)
  end
end
