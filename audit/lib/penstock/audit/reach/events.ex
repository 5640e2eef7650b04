defmodule Penstock.Audit.Reach.Events do
  @moduledoc false
  # Finds which functions run for each event from outside: a request, a message, a connection.

  alias Penstock.Audit.{Entries, Function, Senders, Source}
  alias Penstock.Audit.Reach.{Conditions, Graph, Waits}

  @outsider Conditions.outsider()
  @partly Conditions.partly()
  @chain Graph.longest_chain()
  # How many servers a message may pass through on its way from an outsider's entry.
  @message_rounds 4

  @doc "Returns the reach with its events, and with the clauses of callbacks that outsiders make run."
  def add(reach), do: active(reach, @message_rounds)

  # The clauses of callbacks that take what an outsider makes a function send, until there are no more.
  defp active(reach, rounds) do
    reach = %{reach | events: events(reach)}

    active =
      for {mfa, found} <- if(reach.closed?, do: reach.entries, else: %{}),
          {index, entry} <- found,
          Entries.message?(entry),
          {module, function} = Map.fetch!(reach.functions, mfa),
          sent_outside?(reach, module, function, index),
          into: MapSet.new(),
          do: {mfa, index}

    if rounds == 0 or active == reach.active, do: reach, else: active(%{reach | active: active}, rounds - 1)
  end

  defp sent_outside?(reach, module, function, index) do
    reach.senders
    |> Senders.of(module, function, index)
    |> Enum.any?(fn {from, call} ->
      {sender, function} = Map.fetch!(reach.functions, from)

      not Entries.tool?(sender) and not Waits.waits?(function) and
        Conditions.weaken(reached(reach, sender, function, call), %{
          call
          | frames: Conditions.without_existing(call.frames)
        }) >=
          @outsider
    end)
  end

  # How strongly outsiders reach a call, without the conditions around it.
  defp reached(reach, module, function, call) do
    received = Enum.filter(call.frames, fn {_id, kind, _data} -> kind == :receive end)

    case local(reach, module, function, %{call | frames: received}) do
      {strength, _entry} -> strength
      nil -> reach.events |> Map.get(Function.mfa(function), {0}) |> elem(0)
    end
  end

  # From the strongest entries on, each function takes the first that reaches it.
  defp events(reach) do
    sources =
      for {mfa, {module, function}} <- reach.functions,
          function.kind == :route or Map.has_key?(reach.entries, mfa) or MapSet.member?(reach.loops, mfa),
          not Entries.tool?(module),
          {to, call} <- Map.fetch!(reach.edges, mfa) do
        with {strength, entry} <- local(reach, module, function, call),
             do: {strength, to, entry, [mfa]},
             else: (_none -> nil)
      end

    @outsider..@partly//-1
    |> Enum.reduce(%{}, fn strength, events ->
      start = for {^strength, to, entry, chain} <- sources, Graph.passes?(reach, to), do: {to, entry, chain}

      weakened =
        for {mfa, {s, entry, chain}} <- events,
            s > strength,
            {to, call} <- Map.fetch!(reach.edges, mfa),
            Graph.passes?(reach, to),
            Conditions.weaken(s, call) == strength,
            do: {to, entry, [mfa | chain]}

      # In the order of names, so that a message names the same event each time.
      spread(Enum.sort(start ++ weakened), strength, events, reach)
    end)
  end

  defp spread([], _strength, events, _reach), do: events

  defp spread(queue, strength, events, reach) do
    {events, next} =
      Enum.reduce(queue, {events, []}, fn {mfa, entry, chain}, {events, next} ->
        if Map.has_key?(events, mfa) or length(chain) > @chain do
          {events, next}
        else
          onward =
            for {to, call} <- Map.fetch!(reach.edges, mfa),
                Graph.passes?(reach, to),
                Conditions.weaken(strength, call) == strength,
                do: {to, entry, [mfa | chain]}

          {Map.put(events, mfa, {strength, entry, chain}), onward ++ next}
        end
      end)

    spread(next, strength, events, reach)
  end

  @doc """
  Returns the event that a call in this very function runs for, or nil: the entry that its clause is, or
  the message of a loop.
  """
  def local(reach, module, function, call) do
    entry = get_in(reach.entries, [Function.mfa(function), call.clause])

    cond do
      entry != nil ->
        entry |> strength(reach, function, module, call) |> label(entry, function)

      function.kind == :route ->
        {Conditions.weaken(@outsider, call), {"a request", Function.mfa(function)}}

      loop?(reach, function, call) ->
        {Conditions.weaken(@outsider, call), {"a message of its loop", Function.mfa(function)}}

      true ->
        nil
    end
    |> case do
      {0, _entry} -> nil
      other -> other
    end
  end

  defp strength({strength, _label, _levels} = entry, reach, function, module, call) do
    weak? = Entries.once?(function) or limited?(module) or inactive?(reach, entry, function, call)
    strength = if weak?, do: min(strength, @partly), else: strength
    strength |> min(sent(module, function, call.clause)) |> Conditions.weaken(call)
  end

  defp inactive?(reach, entry, function, call),
    do:
      reach.closed? and Entries.message?(entry) and
        not MapSet.member?(reach.active, {Function.mfa(function), call.clause})

  # A server's own functions send it its calls and casts: conditions in front of all of these count.
  defp sent(module, %{name: name} = function, index) when name in [:handle_call, :handle_cast] do
    tag = function.clauses |> Enum.at(index) |> Map.fetch!(:params) |> List.first() |> Source.tag()

    senders =
      for {_key, %{calls: calls}} <- module.functions,
          %{mfa: {GenServer, sender, _arity}, args: [_server, message | _rest]} = call <- calls,
          "handle_#{sender}" == Atom.to_string(name),
          tag != nil and Source.tag(message) == tag,
          do: Conditions.weaken(@outsider, %{call | frames: Conditions.without_existing(call.frames)})

    Enum.max(senders, fn -> @outsider end)
  end

  defp sent(_module, _function, _index), do: @outsider

  defp label(strength, {_strength, label, _levels}, function), do: {strength, {label, Function.mfa(function)}}

  # A plug that limits the rate stands in front of all actions.
  defp limited?(module) do
    Enum.any?(module.plugs, fn plug -> plug |> Macro.to_string() |> limit_text?() end)
  end

  defp limit_text?(text), do: text =~ ~r/^plug.{0,40}(rate|limit|throttl|Penstock)/i

  # A function that takes messages or connections, and calls itself again.
  defp loop?(reach, function, call) do
    mfa = Function.mfa(function)
    in_receive? = Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :receive end)
    (in_receive? or MapSet.member?(reach.accepting, mfa)) and MapSet.member?(reach.loops, mfa)
  end
end
