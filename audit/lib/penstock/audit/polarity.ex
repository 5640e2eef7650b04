defmodule Penstock.Audit.Polarity do
  @moduledoc false
  # On which side of a condition a thing that may exist already is not there.
  #
  # `if running?(id), do: :ok, else: start(id)` starts one for each id. With the branches exchanged,
  # the condition only says what an event must be about. Many events may be about the same thing.

  @kinds [:exists, :unset]
  # A call with such a name makes the thing that it asks for. One such as `registered?` only asks.
  @takes ~r/^insert_new$|(?<![bc])lock(?!ed)|acquire(?!d)|claim(?!ed)|reserve(?!d)|mark_|register(?!ed)|put_new|add_new|once|debounce|throttle/
  @absences ~r/^(empty|missing|expired?|stale|new|free|absent|not_|no_|un)/
  @missing [nil, false, :error, :not_found, :none, :undefined, :miss, :empty, 0, []]

  @doc "Returns the bound that is left of `kind` in the branch in which the condition holds, or does not."
  def branch(kind, expression, holds?) when kind in @kinds do
    if takes?(expression) or absent_in?(expression, holds?), do: kind
  end

  def branch(kind, _expression, _holds?), do: kind

  @doc "Returns the same for a clause, where `earlier` are the patterns of those before it."
  def clause(kind, expression, pattern, earlier) when kind in @kinds do
    case holds(pattern) || earlier |> Enum.map(&holds/1) |> other() do
      nil -> kind
      :yes -> branch(kind, expression, true)
      :no -> branch(kind, expression, false)
    end
  end

  def clause(kind, _expression, _pattern, _earlier), do: kind

  # Returns the meaning of a variable that follows other patterns. After `nil`, the thing is there. After a
  # further pattern, the variable is one thing among others.
  defp other(earlier) do
    cond do
      :no in earlier -> :yes
      :yes in earlier -> :no
      true -> nil
    end
  end

  # Whether a value that matches the pattern is there.
  defp holds({:when, _meta, [pattern | _guards]}), do: holds(pattern)
  defp holds({:=, _meta, [left, right]}), do: holds(left) || holds(right)
  defp holds(pattern) when pattern in @missing, do: :no
  defp holds({:error, _reason}), do: :no
  defp holds({:{}, _meta, [:error | _]}), do: :no
  defp holds({name, _meta, context}) when is_atom(name) and is_atom(context), do: nil
  defp holds(_pattern), do: :yes

  # Whether the expression is true if the thing is not there.
  defp absent?({:is_nil, _meta, [_value]}), do: true
  defp absent?({operator, _meta, [_left, right]}) when operator in [:==, :===], do: right in @missing
  defp absent?({operator, _meta, [_left, right]}) when operator in [:!=, :!==], do: right not in @missing
  defp absent?({:|>, _meta, [_left, right]}), do: absent?(right)
  defp absent?({{:., _, [_module, name]}, _meta, _args}) when is_atom(name), do: absence?(name)
  defp absent?({name, _meta, args}) when is_atom(name) and is_list(args), do: absence?(name)
  defp absent?(_expression), do: false

  defp absence?(name), do: Atom.to_string(name) =~ @absences

  # If a conjunction holds, all of its parts do. Which part of another one holds is not known.
  defp absent_in?({operator, _meta, [left, right]}, true) when operator in [:and, :&&],
    do: absent_in?(left, true) or absent_in?(right, true)

  defp absent_in?({operator, _meta, [left, right]}, false) when operator in [:or, :||],
    do: absent_in?(left, false) or absent_in?(right, false)

  defp absent_in?({operator, _meta, [_left, _right]}, _holds?) when operator in [:and, :or, :&&, :||, :in], do: true
  # The parser wraps a `not` in parentheses in a block.
  defp absent_in?({:__block__, _meta, [inner]}, holds?), do: absent_in?(inner, holds?)
  defp absent_in?({operator, _meta, [inner]}, holds?) when operator in [:!, :not], do: absent_in?(inner, not holds?)
  defp absent_in?(expression, holds?), do: absent?(expression) == holds?

  defp takes?(expression) do
    {_expression, found?} =
      Macro.prewalk(expression, false, fn
        {{:., _, [_module, name]}, _meta, _args} = node, found? when is_atom(name) -> {node, found? or take?(name)}
        {name, _meta, args} = node, found? when is_atom(name) and is_list(args) -> {node, found? or take?(name)}
        node, found? -> {node, found?}
      end)

    found?
  end

  defp take?(name), do: Atom.to_string(name) =~ @takes
end
