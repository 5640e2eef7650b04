defmodule Penstock.Audit.Rules.UnlimitedSupervisor do
  @moduledoc false
  # PS004: a DynamicSupervisor or a Task.Supervisor without max_children.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Entries, Finding, Function, Known, Rewrite}
  alias Penstock.Audit.Rules.Code

  @limit "max_children: 1_000"

  @impl true
  def id, do: "PS004"

  @impl true
  def title, do: "A supervisor without max_children"

  @impl true
  def why do
    "The default of max_children is :infinity, so the code that starts children decides how many processes live at once."
  end

  @impl true
  def default_severity, do: :medium

  @impl true
  def check(module) do
    if Entries.tool?(module),
      do: [],
      else:
        for(
          {of, function, %{limit: :none} = spec} <- module.reach.specs,
          of.name == module.name,
          do: finding(module, function, spec)
        )
  end

  defp finding(module, function, spec) do
    starts = starts(module.reach, spec.name)
    severity = if starts == [], do: :low, else: :medium

    %Finding{
      rule: id(),
      severity: severity,
      file: module.file,
      line: spec.line || function.line,
      column: spec.column,
      function: Function.mfa(function),
      message: "#{Code.name(function)} starts #{title(spec)} without max_children#{under(starts)}",
      why: why(),
      rewrite: rewrite(module, spec),
      expression: spec.node
    }
  end

  defp title(%{name: nil, module: module}), do: "a #{inspect(module)}"
  defp title(%{name: name, module: module}), do: "the #{inspect(module)} #{inspect(name)}"

  defp under([]), do: ""

  defp under([{function, call, judgement} | _]),
    do: ", and #{Code.name(function)} (line #{call.line}) starts children under it #{judgement.because}"

  defp starts(_reach, nil), do: []

  # In a fixed order, so that the message names the same start each time: an outsider's first.
  defp starts(reach, name) do
    reach
    |> all_starts(name)
    |> Enum.sort_by(fn {function, call, judgement} ->
      {judgement.severity != :high, Function.mfa(function), call.line}
    end)
  end

  defp all_starts(reach, name) do
    for {_name, module} <- reach.modules,
        {function, call} <- Code.calls(module),
        call.target == name,
        kind = Known.spawner(call.mfa),
        judgement = Code.spawn_judgement(%{module | reach: reach}, function, call, kind),
        do: {function, call, judgement}
  end

  defp rewrite(module, spec) do
    opts? = is_list(spec.opts) and not Keyword.has_key?(spec.opts, :max_children)

    if spec.line && opts? do
      text = elem(module.lines, spec.line - 1)

      Enum.find_value(
        [
          "{DynamicSupervisor, ",
          "{Task.Supervisor, ",
          "DynamicSupervisor.init(",
          "DynamicSupervisor.start_link(",
          "Task.Supervisor.start_link("
        ],
        fn start ->
          if String.contains?(text, start), do: Rewrite.append(module.lines, spec.line, start, @limit)
        end
      )
    end
  end
end
