defmodule Penstock.Audit.Callback do
  @moduledoc false
  # Tells how often a clause of a server's callback runs, by its head.

  @idle [false, :idle, :stopped, :ready, :not_started]
  @callbacks [:handle_call, :handle_cast, :handle_info]

  @doc """
  Returns the guards around the body of a clause. `tag` is that of its message, `schedules` has the
  tags of the messages that its module sends to itself.
  """
  def frames(%{kind: kind} = clause, index, tag, schedules) when kind in [:def, :defp] do
    for {kind, true} <- [
          unset: none?(clause),
          exists: waiting_caller?(clause),
          exists: idle?(clause),
          exists: clause.name not in @callbacks and tag != nil and MapSet.member?(schedules, tag)
        ],
        do: {{:callback, index}, :guard, kind}
  end

  def frames(_clause, _index, _tag, _schedules), do: []

  # The server has no state yet: its start of one thing ends that.
  defp none?(%{name: name, params: [_message | rest]}) when name in @callbacks,
    do: List.last(rest) == nil and rest != []

  defp none?(_clause), do: false

  # As `%{indexing: false} = state` and `%{status: :idle} = state`: what the clause starts makes that true.
  defp idle?(%{name: name, params: [_message | rest]}) when name in @callbacks and rest != [] do
    {_state, found?} =
      rest
      |> List.last()
      |> Macro.prewalk(false, fn
        {:%{}, _meta, pairs} = node, found? ->
          {node, found? or Enum.any?(pairs, &match?({_key, idle} when idle in @idle, &1))}

        node, found? ->
          {node, found?}
      end)

    found?
  end

  defp idle?(_clause), do: false

  # The caller waits until a process that the clause creates answers: callers bound the processes.
  defp waiting_caller?(%{name: :handle_call, params: [_message, {from, _meta, context}, _state], body: body})
       when is_atom(context) do
    {_body, {kept?, later?}} =
      Macro.prewalk(body, {false, false}, fn
        {^from, _, context} = node, {_kept?, later?} when is_atom(context) -> {node, {true, later?}}
        {:noreply, _state} = node, {kept?, _later?} -> {node, {kept?, true}}
        node, found -> {node, found}
      end)

    kept? and later?
  end

  defp waiting_caller?(_clause), do: false
end
