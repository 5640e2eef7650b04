defmodule Penstock.Audit.Rules.Code do
  @moduledoc false
  # Functions that the rules for code share.

  alias Penstock.Audit.{Entries, Finding, Function, Judge, Known, Module, Named, Reach}

  @doc "Returns the finding of a rule at a call."
  def finding(rule, module, function, call, severity, message, rewrite \\ nil) do
    %Finding{
      rule: rule.id(),
      severity: severity,
      file: module.file,
      line: call.line,
      column: call.column,
      function: Function.mfa(function),
      message: "#{name(function)} #{message}",
      why: rule.why(),
      rewrite: rewrite,
      expression: call.node
    }
  end

  @doc "Returns the calls of a module that outsiders can reach, each with its function."
  def calls(module), do: if(Entries.tool?(module), do: [], else: Module.calls(module))

  @doc """
  Returns `{function, call, judgement}` of the calls that create processes without a bound. Of several
  calls in one function that the same loop or event elsewhere reaches, the first of the worst stands for all.
  """
  def unbounded_spawns(module) do
    found =
      for {function, call} <- calls(module),
          kind = Known.spawner(call.mfa),
          judgement = spawn_judgement(module, function, call, kind),
          do: {function, call, judgement}

    {through, direct} = Enum.split_with(found, fn {_function, _call, judgement} -> judgement.through? end)

    groups =
      Enum.group_by(through, fn {function, _call, judgement} -> {function.name, function.arity, judgement.because} end)

    direct ++ Enum.map(groups, fn {_key, group} -> first(group) end)
  end

  defp first(group) do
    [{function, call, judgement} | rest] =
      Enum.sort_by(group, fn {_function, call, judgement} -> {judgement.severity != :high, call.line} end)

    more = rest |> Enum.map(fn {_function, call, _judgement} -> call.line end) |> Enum.uniq()
    {function, call, Map.update!(judgement, :because, &(also(more) <> &1))}
  end

  defp also([]), do: ""
  defp also(lines), do: "(and more in the lines #{Enum.join(lines, ", ")}) "

  @doc "Returns the judgement of a call that creates a process of `kind`, or nil."
  def spawn_judgement(module, function, call, kind) do
    judgement = module |> Judge.call(function, call, Known.awaitable?(kind)) |> stopping(function, call)

    cond do
      judgement == nil ->
        nil

      kind in [:spawn, :task, :async] ->
        judgement

      unique?(function, call) ->
        supervised(%{judgement | severity: :medium}, module, call)

      call.child != nil ->
        named(judgement, module, function, call) |> supervised(module, call)

      true ->
        supervised(judgement, module, call)
    end
  end

  # A supervisor with a fixed strategy refuses a second child of an id. A wrapper that gets the child's spec
  # does not know whether the child has a name, which would have the same effect.
  defp unique?(function, %{mfa: {module, :start_child, 2} = mfa, args: [_supervisor, child]} = call) do
    Known.spawner(mfa) == :child and
      ((module in [Supervisor, :supervisor] and not is_list(child)) or
         (variable?(child) and elem(child, 0) in params(function, call.clause)))
  end

  defp unique?(_function, _call), do: false

  defp params(function, index),
    do: for({name, _meta, context} when is_atom(context) <- Enum.at(function.clauses, index).params, do: name)

  defp variable?({name, _meta, context}), do: is_atom(name) and is_atom(context)
  defp variable?(_expression), do: false

  # A process that only stops another one lives as long as the stop lasts, and there was one process before.
  defp stopping(nil, _function, _call), do: nil

  defp stopping(judgement, function, call),
    do: if(Known.stopper?(inside(function, call)), do: %{judgement | severity: :medium}, else: judgement)

  defp inside(function, %{mfa: mfa, line: line, column: column}) do
    for %{frames: frames, mfa: inner} <- function.calls,
        Enum.any?(frames, &match?({_id, :spawned, {^mfa, ^line, ^column}}, &1)),
        do: inner
  end

  defp named(judgement, %{reach: reach}, function, call),
    do: reach |> Named.child(call.child) |> Named.weaken(judgement, reach, function, call)

  defp supervised(nil, %Module{}, _call), do: nil

  defp supervised(judgement, %Module{} = module, call),
    do: supervised(judgement, Reach.supervisors(module.reach, call), call, module.reach)

  # A supervisor that the code does not name may have a limit, if any of the project has one.
  defp supervised(judgement, [], %{target: nil}, reach),
    do: if(Reach.unlimited?(reach), do: judgement, else: %{judgement | severity: :medium})

  defp supervised(judgement, [], _call, _reach), do: judgement

  defp supervised(judgement, specs, _call, _reach) do
    cond do
      Enum.any?(specs, &(&1.limit == :none)) -> judgement
      Enum.any?(specs, &(&1.limit == :unknown)) -> %{judgement | severity: :medium}
      true -> nil
    end
  end

  @doc "Returns the name of a function for a message."
  def name(function), do: Function.show(Function.mfa(function))

  @doc "Returns how a message calls the function that is called."
  def called({module, name, arity}) when module in [:erlang, Kernel, nil], do: "#{name}/#{arity}"
  def called(mfa), do: Function.show(mfa)
end
