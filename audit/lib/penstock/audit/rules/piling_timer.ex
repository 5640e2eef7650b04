defmodule Penstock.Audit.Rules.PilingTimer do
  @moduledoc false
  # PS008: timers that each event adds to those that run already.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Entries, Judge, Source}
  alias Penstock.Audit.Rules.Code

  @repeating [{:timer, :send_interval}, {:timer, :apply_interval}, {:timer, :apply_repeatedly}]
  @once [
    {Process, :send_after},
    {:erlang, :send_after},
    {:erlang, :start_timer},
    {:timer, :send_after},
    {:timer, :apply_after}
  ]
  @requests ["request", "job"]

  @impl true
  def id, do: "PS008"

  @impl true
  def title, do: "Timers that pile up"

  @impl true
  def why,
    do: "Each event adds a timer and no code cancels the one before, so timers and their messages grow with the events."

  @impl true
  def default_severity, do: :medium

  @impl true
  def check(module) do
    calls = Code.calls(module)

    if Enum.any?(calls, fn {_function, call} -> cancels?(key(call)) end),
      do: [],
      else: Enum.flat_map(calls, &timer(&1, module))
  end

  defp key(%{mfa: {module, name, _arity}}), do: {module, name}

  # Or a helper of the project with such a name.
  defp cancels?({:timer, :cancel}), do: true

  defp cancels?({_module, name}),
    do: name |> Atom.to_string() |> String.contains?("cancel") and name |> Atom.to_string() |> String.contains?("timer")

  defp timer({function, call}, module) do
    if key(call) in @repeating or key(call) in @once, do: judge(function, call, module), else: []
  end

  defp judge(function, call, module) do
    case Judge.call(module, function, call, false) do
      nil -> []
      judgement -> judged(key(call), judgement, function, call, module)
    end
  end

  defp judged(key, judgement, function, call, module) when key in @repeating do
    if to_self?(call) and (Entries.once?(function) or request?(judgement)) do
      []
    else
      message = "starts a repeating timer by #{Code.called(call.mfa)} #{judgement.because}, and nothing cancels it"
      [Code.finding(__MODULE__, module, function, call, judgement.severity, message)]
    end
  end

  defp judged(key, %{kind: :event} = judgement, function, call, module) when key in @once do
    cond do
      own_timer?(judgement) or Entries.once?(function) ->
        []

      # Which timer another module's events set, and cancel, is not known here.
      elem(judgement.entry, 0) != module.name ->
        []

      to_self?(call) and request?(judgement) ->
        []

      judgement.severity == :medium ->
        []

      true ->
        severity = if toggled?(module, judgement.entry, function, call), do: :medium, else: severity(module, call)
        [Code.finding(__MODULE__, module, function, call, severity, message(module, call, judgement))]
    end
  end

  defp judged(_key, _judgement, _function, _call, _module), do: []

  # A message whose handler sets the timer again goes on without an end: each event adds one more.
  defp severity(module, call), do: if(again?(module, call), do: :high, else: :medium)

  defp message(module, call, judgement) do
    more =
      if again?(module, call),
        do: ", whose message sets it again, so each adds one that never ends",
        else: ", and nothing cancels the one before"

    "sets a timer by #{Code.called(call.mfa)} #{judgement.because}#{more}"
  end

  # A clause for one value of the state, as `%{paused: true}`, mostly sets another one.
  defp toggled?(module, {_module, name, arity}, function, timer) do
    entry = module.functions[{name, arity}]
    setter = {module.name, function.name, function.arity}
    clauses = for call <- entry.calls, call == timer or call.mfa == setter, do: Enum.at(entry.clauses, call.clause)
    clauses != [] and Enum.all?(clauses, &while?(%{&1 | guards: []}))
  end

  defp again?(module, call) do
    tag = Enum.find_value(call.args, &Source.tag/1)
    function = module.functions[{:handle_info, 2}]

    tag != nil and function != nil and
      function.clauses
      |> Enum.with_index()
      |> Enum.any?(fn {clause, index} ->
        Source.tag(List.first(clause.params)) == tag and not while?(clause) and sets?(module, function, index, call)
      end)
  end

  # As in `def handle_info(:tick, %{running: true} = state)`.
  defp while?(clause) do
    {_params, found?} =
      clause.params
      |> Enum.drop(1)
      |> Macro.prewalk(clause.guards != [], fn
        {:%{}, _meta, pairs} = node, found? ->
          {node, found? or Enum.any?(pairs, fn {_key, value} -> is_atom(value) end)}

        node, found? ->
          {node, found?}
      end)

    found?
  end

  defp sets?(module, function, index, timer) do
    setters = for {_key, other} <- module.functions, timer in other.calls, always?(timer), do: {other.name, other.arity}

    Enum.any?(function.calls, fn call ->
      call.clause == index and always?(call) and
        (key(call) == key(timer) or {elem(call.mfa, 1), elem(call.mfa, 2)} in setters)
    end)
  end

  defp always?(call), do: not Enum.any?(call.frames, fn {_id, kind, _data} -> kind in [:branch, :guard] end)

  defp own_timer?(judgement), do: String.starts_with?(judgement.because, "for each message of its own timer")
  defp request?(judgement), do: Enum.any?(@requests, &String.starts_with?(judgement.because, "for each #{&1}"))

  defp to_self?(%{mfa: {:timer, :send_interval, 2}}), do: true
  defp to_self?(%{args: args}), do: Enum.any?(args, &match?({:self, _, _}, &1))
end
