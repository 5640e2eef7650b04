defmodule Penstock.Audit.Judge do
  @moduledoc false
  # Says what decides how often a call runs, in the words of a finding.

  alias Penstock.Audit.{Entries, Function, Known, Origin}
  alias Penstock.Audit.Reach.{Conditions, Elements, Events, Graph}

  @outsider Conditions.outsider()

  @doc """
  Returns what decides how often a call runs, or nil if nothing unbounded does:
  `%{kind: :element | :event, severity: :high | :medium, because: text}`.

  `awaitable?` says whether the caller may wait for what the call starts.
  """
  def call(%{reach: reach} = module, function, call, awaitable?) do
    awaitable? = awaitable? and not dropped?(function, call)

    if Entries.tool?(module),
      do: nil,
      else:
        worst(element(reach, function, call, awaitable?), fn -> event(reach, module, function, call, awaitable?) end)
  end

  # No code has the task, so none waits for it, unless a receive takes its message.
  defp dropped?(function, call), do: Known.task?(call.mfa) and call.use == :discarded and not function.receives?

  # An outsider's event counts for more than a loop over the application's own data.
  defp worst(nil, event), do: event.()
  defp worst(%{severity: :high} = element, _event), do: element

  defp worst(element, event) do
    case event.() do
      %{severity: :high} = event -> event
      _other -> element
    end
  end

  defp element(reach, function, call, awaitable?) do
    mfa = Function.mfa(function)

    case Elements.level(reach, mfa, function, call, not awaitable?) do
      {level, strength, {name, line}} when level > 0 and strength > 0 ->
        %{
          kind: :element,
          severity: element_severity(reach, mfa, level, strength),
          because: "for each element of #{loop_text(name)} in line #{line}",
          level: level,
          through?: false
        }

      _none ->
        inherited(reach, mfa, function, call, awaitable?)
    end
  end

  defp inherited(reach, mfa, function, call, awaitable?) do
    waits? = awaitable? and synchronous?(reach, function, call)

    with false <- waits?,
         %{^mfa => {{level, strength}, {from, {name, line}}}} <- Map.fetch!(reach.elements, not awaitable?),
         strength when strength > 0 <- Conditions.weaken(strength, call) do
      %{
        kind: :element,
        severity: element_severity(reach, mfa, level, strength),
        because: "for each element of #{loop_text(name)} in line #{line} of #{Function.show(from)}",
        level: level,
        through?: true
      }
    else
      _none -> nil
    end
  end

  # In a closed project a message has many elements only if an outsider makes a function send it.
  defp element_severity(reach, mfa, level, @outsider) when level >= 2 do
    outside? = level >= Origin.outside_level() or not reach.closed?
    if outside? or outsiders?(reach, mfa), do: :high, else: :medium
  end

  defp element_severity(_reach, _mfa, _level, _strength), do: :medium

  defp outsiders?(reach, mfa) do
    match?(%{^mfa => {@outsider, _entry, _chain}}, reach.events) or
      Enum.any?(reach.active, fn {active, _index} -> active == mfa end)
  end

  defp event(reach, module, function, call, awaitable?) do
    mfa = Function.mfa(function)

    found =
      case Events.local(reach, module, function, call) do
        nil ->
          with %{^mfa => {strength, entry, chain}} <- reach.events,
               strength when strength > 0 <- Conditions.weaken(strength, call) do
            {strength, entry, chain}
          else
            _none -> nil
          end

        {strength, entry} ->
          {strength, entry, []}
      end

    with {strength, {label, entry}, chain} <- found,
         false <- awaitable? and (synchronous?(reach, function, call) or caller_waits?(reach, mfa, call, chain)) do
      %{
        kind: :event,
        severity: if(strength >= @outsider, do: :high, else: :medium),
        because: "for each #{bare(label)}" <> through(entry, chain, mfa),
        level: 0,
        entry: entry,
        through?: entry != mfa
      }
    else
      _none -> nil
    end
  end

  defp synchronous?(reach, function, call) do
    (not Graph.spawned?(call) and (function.awaits? or answered?(reach, function, call))) or
      Enum.any?(call.frames, fn {id, _kind, _data} -> MapSet.member?(function.awaits, id) end)
  end

  # A function that waits for a message outside of the loop in which it takes messages.
  defp answered?(reach, function, call) do
    function.receives? and not MapSet.member?(reach.accepting, Function.mfa(function)) and
      not Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :receive end)
  end

  # A function that returns its tasks leaves the wait to its callers.
  defp caller_waits?(reach, mfa, call, chain) do
    direct = for {from, _call} <- Map.get(reach.callers, mfa, []), do: from
    task? = Known.spawner(call.mfa) in [:async, :async_child]

    task? and call.use != :discarded and
      Enum.any?(direct ++ chain, fn from -> reach.functions |> Map.fetch!(from) |> elem(1) |> Map.fetch!(:awaits?) end)
  end

  defp bare("a " <> label), do: label
  defp bare("an " <> label), do: label
  defp bare(label), do: label

  defp through(mfa, _chain, mfa), do: ""
  defp through(entry, chain, _mfa) when length(chain) <= 1, do: " in #{Function.show(entry)}"

  defp through(entry, chain, _mfa) do
    steps = chain |> Enum.drop(-1) |> Enum.reverse() |> Enum.map_join(", ", &Function.show/1)
    " in #{Function.show(entry)}, through #{steps}"
  end

  defp loop_text({nil, name, arity}), do: "the recursion of #{name}/#{arity}"
  defp loop_text({Kernel.SpecialForms, :for, _arity}), do: "the comprehension"
  defp loop_text(mfa), do: Function.show(mfa)
end
