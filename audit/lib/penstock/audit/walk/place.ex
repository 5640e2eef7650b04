defmodule Penstock.Audit.Walk.Place do
  @moduledoc false
  # The code around the place that a walk has reached, in frames as `Penstock.Audit.Call` says.

  @doc "Returns the state inside of one more frame."
  def push(kind, data, state), do: %{state | frames: [{state.next, kind, data} | state.frames], next: state.next + 1}

  @doc "Returns the state where a bound of that kind holds, if there is one."
  def guarded(nil, state), do: state
  def guarded(kind, state), do: push(:guard, kind, state)

  @doc "Returns the state inside of a branch, where a bound of that kind holds, if there is one."
  def branched(kind, state), do: guarded(kind, push(:branch, nil, state))

  @doc "Returns the state behind a block: the variables that it bound are gone."
  def leave(inner, state), do: Map.merge(inner, Map.take(state, [:frames, :env, :marks, :targets, :scope]))

  @doc "Returns the state with a wait in the places around it, up to and with the process that it happens in."
  def await(state, task? \\ true) do
    {inside, rest} = Enum.split_while(state.frames, fn {_id, kind, _data} -> kind != :spawned end)

    awaits =
      Enum.reduce(inside ++ Enum.take(rest, 1), state.awaits, fn {id, _kind, _data}, awaits ->
        MapSet.put(awaits, id)
      end)

    %{state | awaits: awaits, awaits?: state.awaits? or (task? and rest == [])}
  end

  @doc "Returns whether the place is in a process that the function creates."
  def spawned?(state), do: Enum.any?(state.frames, fn {_id, kind, _data} -> kind == :spawned end)
end
