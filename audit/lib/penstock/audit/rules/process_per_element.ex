defmodule Penstock.Audit.Rules.ProcessPerElement do
  @moduledoc false
  # PS001: a process for each element of a collection.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Known, Rewrite}
  alias Penstock.Audit.Rules.{Code, SpawnRewrite}

  @impl true
  def id, do: "PS001"

  @impl true
  def title, do: "A process for each element, without a bound"

  @impl true
  def why do
    "The data decides how many processes live at once. A long list exhausts the process table or the memory of the node; " <>
      "a stream with max_concurrency, or a pool, bounds them."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    for {function, call, %{kind: :element} = judgement} <- Code.unbounded_spawns(module) do
      message =
        "calls #{Code.called(call.mfa)} #{judgement.because}, and nothing bounds how many processes live at once"

      Code.finding(__MODULE__, module, function, call, judgement.severity, message, rewrite(module, function, call))
    end
  end

  defp rewrite(module, function, call), do: stream(module, function, call) || SpawnRewrite.of(module, call)

  # `Enum.each(items, fn item -> Task.start(fn -> work(item) end) end)` as a bounded stream.
  defp stream(module, function, call) do
    with [{_id, :loop, {_origin, {Enum, :each, 2} = loop, line}} | _] <- call.frames,
         true <- Known.spawner(call.mfa) in [:task, :async],
         %{node: {_, _, [collection, {:fn, _, [{:->, _, [[param], body]}]}]} = node} <-
           Enum.find(function.calls, &(&1.mfa == loop and &1.line == line)),
         {_, _, [{:fn, _, [{:->, _, [[], work]}]}]} <- body,
         true <- body == call.node do
      work = {:fn, [], [{:->, [], [[param], work]}]}

      stream =
        {{:., [], [{:__aliases__, [], [:Penstock, :Task]}, :async_stream]}, [],
         [{:__aliases__, [], [:MyApp, :Jobs]}, collection, work]}

      Rewrite.expression(module.lines, node, "Enum.each(", "#{Macro.to_string(stream)}\n|> Stream.run()")
    else
      _other -> nil
    end
  end
end
