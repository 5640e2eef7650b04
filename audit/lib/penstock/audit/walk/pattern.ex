defmodule Penstock.Audit.Walk.Pattern do
  @moduledoc false
  # Finds where the values of the variables in a pattern come from.

  alias Penstock.Audit.Origin

  @own_keys [:assigns, :private, :adapter, :endpoint, :state]

  @doc "Returns whether the value at `key` of a connection or a socket is the application's own."
  def own_key?(key), do: key in @own_keys

  @doc "Returns the state with the variables of a pattern, for a value of the given origin."
  # A variable for a literal, as in `"name" = key`, has that value.
  def bind({:=, _meta, [literal, {name, _, context} = variable]}, _origin, state)
      when (is_binary(literal) or is_atom(literal) or is_number(literal)) and is_atom(name) and is_atom(context),
      do: bind(variable, Origin.fixed(), state)

  def bind({:=, _meta, [left, right]}, origin, state), do: bind(right, origin, bind(left, origin, state))
  def bind({:when, _meta, args}, origin, state), do: Enum.reduce(Enum.drop(args, -1), state, &bind(&1, origin, &2))
  def bind({:\\, _meta, [pattern, _default]}, origin, state), do: bind(pattern, origin, state)
  def bind({:"::", _meta, [pattern, _type]}, origin, state), do: bind(pattern, Origin.part(origin), state)
  def bind({:^, _meta, [{name, _, _}]}, _origin, state), do: read(name, state)

  def bind({:%{}, _meta, pairs}, origin, state), do: bind_pairs(pairs, origin, state)
  def bind({:%, _meta, [_struct, {:%{}, _, pairs}]}, origin, state), do: bind_pairs(pairs, origin, state)

  def bind([{:|, _meta, [head, tail]}], origin, state),
    do: bind(tail, origin, bind(head, Origin.element(origin), state))

  def bind(list, origin, state) when is_list(list) do
    Enum.reduce(list, state, fn
      {:|, _meta, [head, tail]}, state -> bind(tail, origin, bind(head, Origin.element(origin), state))
      pattern, state -> bind(pattern, Origin.element(origin), state)
    end)
  end

  def bind({left, right}, origin, state), do: bind(right, Origin.part(origin), bind(left, Origin.part(origin), state))
  def bind({:{}, _meta, parts}, origin, state), do: Enum.reduce(parts, state, &bind(&1, Origin.part(origin), &2))
  def bind({:<<>>, _meta, parts}, origin, state), do: Enum.reduce(parts, state, &bind(&1, Origin.part(origin), &2))
  def bind({:<>, _meta, parts}, origin, state), do: Enum.reduce(parts, state, &bind(&1, Origin.part(origin), &2))

  def bind({name, _meta, context}, origin, state) when is_atom(name) and is_atom(context) do
    %{
      state
      | env: Map.put(state.env, name, origin),
        marks: Map.delete(state.marks, name),
        targets: Map.delete(state.targets, name)
    }
  end

  def bind(_literal, _origin, state), do: state

  defp bind_pairs(pairs, origin, state) do
    Enum.reduce(pairs, state, fn
      {key, pattern}, state when key in @own_keys -> bind(pattern, Origin.own(), state)
      {{:^, _, [{name, _, _}]}, pattern}, state -> bind(pattern, Origin.part(origin), read(name, state))
      {_key, pattern}, state -> bind(pattern, Origin.part(origin), state)
      _other, state -> state
    end)
  end

  @doc "Returns the state with a variable that was read."
  def read(name, state), do: %{state | reads: MapSet.put(state.reads, name)}

  @doc "Returns the state with the variables of a generator of a comprehension over a binary."
  def bind_generator({:<-, _meta, [pattern, _expression]}, origin, state), do: bind(pattern, origin, state)
  def bind_generator(pattern, origin, state), do: bind(pattern, origin, state)

  @doc "Splits the patterns of a clause from its guards."
  def patterns([{:when, _meta, args}]) do
    {patterns, guards} = Enum.split(args, -1)
    {patterns, guards}
  end

  def patterns(patterns), do: {patterns, []}

  @doc "Returns the names of the variables of a pattern."
  def names(pattern) do
    {_pattern, names} =
      Macro.prewalk(pattern, [], fn
        {name, _meta, context} = node, names when is_atom(name) and is_atom(context) -> {node, [name | names]}
        node, names -> {node, names}
      end)

    names
  end
end
