defmodule Penstock.Audit.Rules.UnlimitedStream do
  @moduledoc false
  # PS005: a stream of tasks with as many tasks at once as it has elements.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Known, Rewrite}
  alias Penstock.Audit.Reach.Levels
  alias Penstock.Audit.Rules.Code

  @infinity "max_concurrency: :infinity"
  @bounded "max_concurrency: System.schedulers_online() * 2"
  # More tasks at once than this are no bound for a node with the default process limit.
  @many 10_000

  @impl true
  def id, do: "PS005"

  @impl true
  def title, do: "async_stream without a bound on its tasks"

  @impl true
  def why,
    do:
      "With max_concurrency: :infinity, or the number of elements, a stream creates a process for each element at once."

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    for {function, call} <- Code.calls(module),
        Known.async_stream?(call.mfa),
        reason = unbounded(call.args, module),
        severity = severity(module, function, call) do
      message = "calls #{Code.called(call.mfa)} with max_concurrency: #{reason}, so all elements are at work at once"

      Code.finding(
        __MODULE__,
        module,
        function,
        call,
        severity,
        message,
        Rewrite.line(module.lines, line(module, call, List.last(call.args)), @infinity, @bounded)
      )
    end
  end

  # The option may be some lines below the call.
  @reach 12
  defp line(module, call, {:@, _, [{name, _, _}]}) do
    start = "@#{name} "
    lines = module.lines |> Tuple.to_list() |> Enum.with_index(1)
    Enum.find_value(lines, call.line, fn {text, number} -> if text =~ start and text =~ @infinity, do: number end)
  end

  defp line(module, call, _opts) do
    Enum.find(call.line..(call.line + @reach), call.line, fn number ->
      number <= tuple_size(module.lines) and String.contains?(elem(module.lines, number - 1), @infinity)
    end)
  end

  defp unbounded(args, module) do
    with opts when is_list(opts) <- args |> List.last() |> attribute(module),
         true <- Keyword.keyword?(opts),
         {:ok, value} <- Keyword.fetch(opts, :max_concurrency) do
      case attribute(value, module) do
        :infinity -> ":infinity"
        number when is_integer(number) and number > @many -> "#{number}"
        {name, _, [_collection]} when name in [:length, :map_size] -> Macro.to_string(value)
        {{:., _, [_module, name]}, _, [_collection]} when name in [:count, :length] -> Macro.to_string(value)
        _other -> nil
      end
    else
      _none -> nil
    end
  end

  defp attribute({:@, _, [{name, _, context}]}, module) when is_atom(context), do: module.attributes[name]
  defp attribute(expression, _module), do: expression

  defp severity(module, function, call) do
    level = Levels.count(module.reach, function, call, Known.loop(call.mfa))
    guard? = Enum.any?(call.frames, fn {_id, kind, data} -> kind == :gate or (kind == :guard and data == :limit) end)

    cond do
      level == 0 or guard? -> nil
      level == 1 -> :medium
      true -> :high
    end
  end
end
