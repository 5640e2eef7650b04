defmodule Penstock.Audit.Reach.Elements do
  @moduledoc false
  # Finds which functions run for each element of a loop.

  alias Penstock.Audit.{Entries, Origin}
  alias Penstock.Audit.Reach.{Conditions, Graph}

  @outsider Conditions.outsider()
  @chain Graph.longest_chain()

  @doc """
  Returns which functions run once per element of a loop in one of their callers.

  The map of `true` has all loops. That of `false` leaves out those whose body waits for what it starts.
  """
  def find(reach) do
    for awaited <- [true, false], into: %{} do
      sources =
        for {mfa, {module, function}} <- reach.functions,
            not Entries.tool?(module),
            {to, call} <- Map.fetch!(reach.edges, mfa),
            to != mfa,
            Graph.passes?(reach, to) do
          case level(reach, mfa, function, call, awaited) do
            {level, strength, loop} when level > 0 and strength > 0 -> {{level, strength}, to, {mfa, loop}}
            _none -> nil
          end
        end

      found =
        sources
        |> Enum.reject(&is_nil/1)
        |> Enum.sort(:desc)
        |> Enum.reduce(%{}, fn {rank, to, where}, found -> spread_element([{to, 0}], rank, where, found, reach) end)

      {awaited, found}
    end
  end

  defp spread_element([], _rank, _where, found, _reach), do: found

  defp spread_element([{mfa, depth} | rest], rank, where, found, reach) do
    if Map.has_key?(found, mfa) or depth > @chain do
      spread_element(rest, rank, where, found, reach)
    else
      onward =
        for {to, call} <- Map.fetch!(reach.edges, mfa),
            Graph.passes?(reach, to),
            Conditions.weaken(@outsider, call) == @outsider,
            do: {to, depth + 1}

      spread_element(onward ++ rest, rank, where, Map.put(found, mfa, {rank, where}), reach)
    end
  end

  @doc """
  Returns `{level, strength, loop}` of the loops around a call in its own function. Loops whose body
  waits for the process count only if `all?`.
  """
  def level(reach, mfa, function, call, all?) do
    params = Map.get(reach.params, mfa, %{})

    frames =
      if all?,
        do: call.frames,
        else: Enum.take_while(call.frames, fn {id, _kind, _data} -> not MapSet.member?(function.awaits, id) end)

    {level, strength, loop, _inner} =
      Enum.reduce(frames, {0, 0, nil, @outsider}, fn
        {_id, :loop, {origin, name, line}}, {level, strength, loop, inner} ->
          found = Origin.count_level(origin, params)
          if found > level, do: {found, inner, {name, line}, inner}, else: {level, strength, loop, inner}

        # A limit outside of the loop bounds the elements too; the other conditions do not.
        {_id, :guard, :limit}, {level, _strength, loop, _inner} ->
          {level, 0, loop, 0}

        {_id, :gate, _mfa}, {level, _strength, loop, _inner} ->
          {level, 0, loop, 0}

        frame, {level, strength, loop, inner} ->
          {level, strength, loop, Conditions.weaken_by(frame, inner)}
      end)

    {level, strength, loop}
  end
end
