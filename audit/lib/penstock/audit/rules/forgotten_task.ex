defmodule Penstock.Audit.Rules.ForgottenTask do
  @moduledoc false
  # PS006: a task whose caller never awaits its result.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Known, Rewrite}
  alias Penstock.Audit.Rules.Code

  @impl true
  def id, do: "PS006"

  @impl true
  def title, do: "A task that no process awaits"

  @impl true
  def why do
    "A task by async sends its result and is linked to its caller: results that no process takes fill the mailbox, and the caller " <>
      "goes on before the work is done, so its pace bounds nothing."
  end

  @impl true
  def default_severity, do: :medium

  @impl true
  def check(module) do
    if takes_results?(module) do
      []
    else
      for {function, call} <- Code.calls(module),
          Known.spawner(call.mfa) in [:async, :async_child] and elem(call.mfa, 1) != :start_child,
          dropped?(call, function) do
        Code.finding(
          __MODULE__,
          module,
          function,
          call,
          :medium,
          "drops the task that #{Code.called(call.mfa)} creates, and no process awaits it",
          rewrite(module, call)
        )
      end
    end
  end

  defp dropped?(%{use: :discarded}, _function), do: true
  defp dropped?(%{use: {:bound, names}}, function), do: Enum.all?(names, &unread?(&1, function))
  defp dropped?(_call, _function), do: false

  defp unread?(name, function),
    do: name |> Atom.to_string() |> String.starts_with?("_") or not MapSet.member?(function.reads, name)

  # A server takes the result of a task as the message `{ref, result}`.
  defp takes_results?(module) do
    case module.functions[{:handle_info, 2}] do
      nil -> false
      function -> Enum.any?(function.clauses, &result?(List.first(&1.params)))
    end
  end

  defp result?({:=, _meta, [left, right]}), do: result?(left) or result?(right)
  defp result?({{name, _meta, context}, _result}), do: is_atom(name) and is_atom(context)
  defp result?(_pattern), do: false

  defp rewrite(module, %{mfa: {Task, :async, 1}} = call),
    do: Rewrite.line(module.lines, call.line, "Task.async(", "Penstock.Task.start(MyApp.Jobs, ")

  defp rewrite(_module, _call), do: nil
end
