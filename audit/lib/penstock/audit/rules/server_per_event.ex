defmodule Penstock.Audit.Rules.ServerPerEvent do
  @moduledoc false
  # PS010: a server that an event starts without a supervisor.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Function, Judge, Known, Named}
  alias Penstock.Audit.Reach.Graph
  alias Penstock.Audit.Rules.Code

  @starters [:start, :start_link, :start_monitor]

  @impl true
  def id, do: "PS010"

  @impl true
  def title, do: "A server without a supervisor, started per event"

  @impl true
  def why,
    do: "No supervisor knows these servers, so nothing counts, bounds or stops them, and one that never ends stays."

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    for {function, call} <- Code.calls(module),
        not starting?(module, function),
        starts?(module, function, call),
        not stopped?(function, call),
        judgement = Judge.call(module, function, call, false),
        judgement =
          judgement && module |> named(function, call) |> Named.weaken(judgement, module.reach, function, call),
        judgement != nil do
      message = "starts a server by #{Code.called(call.mfa)} #{judgement.because}, outside of any supervisor"
      Code.finding(__MODULE__, module, function, call, judgement.severity, message)
    end
  end

  defp starting?(_module, %{name: :init}), do: true

  defp starting?(module, %{name: name} = function) when name in @starters,
    do: Graph.starter?(module.reach, Function.mfa(function))

  defp starting?(_module, _function), do: false

  # A function that stops the server which it started has one at a time.
  defp stopped?(function, call) do
    not Enum.any?(call.frames, &match?({_id, :spawned, _data}, &1)) and
      Enum.any?(function.calls, fn %{mfa: {module, name, _arity}} -> name == :stop and Known.server?(module) end)
  end

  defp named(module, function, call) do
    if Known.server_start?(call.mfa),
      do: Named.call(call),
      else: Named.starts(module.reach, for({to, ^call} <- module.reach.edges[Function.mfa(function)], do: to))
  end

  # Directly, or by the start function of a module that starts a server.
  defp starts?(module, function, call) do
    Known.server_start?(call.mfa) or
      (elem(call.mfa, 1) in @starters and
         module.reach.edges
         |> Map.get(Function.mfa(function), [])
         |> Enum.any?(fn {to, other} -> other == call and Graph.starter?(module.reach, to) end))
  end
end
