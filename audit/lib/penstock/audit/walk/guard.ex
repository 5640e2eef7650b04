defmodule Penstock.Audit.Walk.Guard do
  @moduledoc false
  # Which bound the conditions of the code look at, see `Penstock.Audit.Condition`.

  alias Penstock.Audit.Condition
  alias Penstock.Audit.Walk.Pattern

  @doc "Returns the bound that an expression looks at, or nil."
  def kind(expression, state), do: Condition.kind(expression, state.scope, state.marks, state.limits)

  @doc """
  Returns the bound that a `case` over `subject` looks at, or nil.

  A function of the state that is nil is there at most once.
  """
  def subject(subject, clauses, state) do
    nil? = Enum.any?(clauses, &match?({:->, _, [[pattern], _]} when pattern in [nil, true, false], &1))

    guards =
      for {:->, _, [patterns, _body]} <- clauses, reduce: nil do
        kind ->
          {patterns, guards} = Pattern.patterns(patterns)
          Condition.stronger(kind, Condition.clause(patterns, guards, state.scope, state.limits))
      end

    own = if nil? and Condition.field?(subject), do: :unset
    subject |> kind(state) |> Condition.stronger(own) |> Condition.stronger(guards)
  end

  @doc "Returns the bound that holds behind an expression, as behind `if busy?, do: raise(...)`, or nil."
  def leaving({name, _meta, [condition, [{:do, body} | _]]}, state) when name in [:if, :unless] do
    if leaves?(body), do: condition(condition, state)
  end

  def leaving(_expression, _state), do: nil

  defp leaves?({:__block__, _meta, expressions}), do: expressions |> List.last() |> leaves?()
  defp leaves?({name, _meta, args}), do: name in [:raise, :throw, :exit, :reraise] and is_list(args)
  defp leaves?(_expression), do: false

  @doc "Returns the bound that the condition of an `if` looks at, or nil."
  def condition(condition, state) do
    if Condition.field?(unwrap(condition)), do: :unset, else: kind(condition, state)
  end

  @doc """
  Returns the bound that a filter of a comprehension looks at, or nil.

  A filter looks at one element, which does not bound how many elements there are.
  """
  def filter(expression, state) do
    kind = kind(expression, state)
    if kind in [:limit, :member], do: kind
  end

  @doc """
  Returns `:limit` if an argument of a call was computed from a limit.

  So the functions of `Enum.each(free, …)` are bounded after
  `free = Enum.take(jobs, @most - map_size(running))`.
  """
  def arguments(args, state) do
    kinds = for {name, _meta, context} <- args, is_atom(name) and is_atom(context), do: state.marks[name]
    if :limit in kinds, do: :limit
  end

  @doc "Returns whether a condition begins with `not` or `!`."
  def negated?(condition), do: unwrap(condition) != condition

  defp unwrap({operator, _meta, [expression]}) when operator in [:!, :not], do: unwrap(expression)
  defp unwrap(expression), do: expression
end
