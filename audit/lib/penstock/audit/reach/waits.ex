defmodule Penstock.Audit.Reach.Waits do
  @moduledoc false
  # Finds which functions wait for the processes that their callers create.

  alias Penstock.Audit.{Entries, Function, Known}
  alias Penstock.Audit.Reach.Graph

  # Through more modules than this a wait tells little of the tasks that it is for.
  @wait_rounds 3

  @doc "Returns the modules, where a function that calls one which waits does so itself."
  def spread(modules) do
    modules =
      for module <- modules do
        %{module | functions: Map.new(module.functions, fn {key, function} -> {key, waiting(function, module)} end)}
      end

    Enum.reduce(1..@wait_rounds, Entries.restrict(modules), fn _round, modules -> wait_elsewhere(modules) end)
  end

  # A function of another module that waits, and creates nothing itself, waits for its callers' tasks.
  defp wait_elsewhere(modules) do
    functions = Graph.functions(modules)
    defaults = Graph.defaults(functions)

    waiters =
      for {mfa, {_module, function}} <- functions,
          function.awaits?,
          not Enum.any?(function.calls, &(Known.spawner(&1.mfa) != nil)),
          into: MapSet.new(),
          do: mfa

    waiter? = fn call, module ->
      mfa = Graph.project(call.mfa, module, functions, defaults)
      mfa != nil and elem(mfa, 0) != module.name and MapSet.member?(waiters, mfa)
    end

    for module <- modules do
      functions =
        Map.new(module.functions, fn {key, function} ->
          {key, function.calls |> Enum.filter(&waiter?.(&1, module)) |> Enum.reduce(function, &wait/2)}
        end)

      %{module | functions: functions}
    end
  end

  defp waiting(function, module) do
    waits =
      for %{mfa: {name, f, a}} = call <- function.calls,
          name == module.name,
          {f, a} != {function.name, function.arity},
          waits?(module.functions[{f, a}]),
          do: call

    Enum.reduce(waits, function, &wait/2)
  end

  # The places around a call that waits do so too.
  defp wait(call, function) do
    {inside, rest} = Enum.split_while(call.frames, fn {_id, kind, _data} -> kind != :spawned end)
    ids = for {id, _kind, _data} <- inside ++ Enum.take(rest, 1), do: id
    %{function | awaits: MapSet.union(function.awaits, MapSet.new(ids)), awaits?: function.awaits? or rest == []}
  end

  @doc "Returns whether a function waits for a particular process."
  def waits?(nil), do: false
  # A function that takes messages in a loop waits for no particular process.
  def waits?(function),
    do: function.awaits? or (function.receives? and not Enum.any?(function.calls, &(&1.mfa == Function.mfa(function))))
end
