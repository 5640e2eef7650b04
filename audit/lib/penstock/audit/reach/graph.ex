defmodule Penstock.Audit.Reach.Graph do
  @moduledoc false
  # The graph of calls of all modules: which function calls which, and which call themselves.

  alias Penstock.Audit.{Components, Function, Known}

  # Names of functions that start a server.
  @starts [:start, :start_link, :start_monitor]
  @callbacks [:handle_call, :handle_cast, :handle_info]
  # A supervisor calls these at a start.
  @never [:init, :child_spec]

  # Longer ones tell the reader nothing.
  @doc "Returns the length of the longest chain of calls that a finding names."
  def longest_chain, do: 10

  @doc "Returns the functions of `modules` by their names, each with its module."
  def functions(modules) do
    for module <- modules,
        {_key, function} <- module.functions,
        into: %{},
        do: {Function.mfa(function), {module, function}}
  end

  @doc """
  Returns the names by which calls with fewer arguments reach a function whose parameters have defaults.
  """
  def defaults(functions) do
    for {{module, name, arity} = mfa, {_module, %{defaults: count}}} <- functions,
        count > 0,
        n <- (arity - count)..(arity - 1)//1,
        into: %{} do
      {{module, name, n}, mfa}
    end
  end

  @doc "Returns the calls of functions of the project, by the function that makes them."
  def edges(functions) do
    defaults = defaults(functions)
    Map.new(functions, fn {mfa, {module, function}} -> {mfa, edges(module, function, functions, defaults)} end)
  end

  defp edges(module, function, functions, defaults) do
    for call <- function.calls, mfa = project(call.mfa, module, functions, defaults), mfa != nil, do: {mfa, call}
  end

  @doc "Returns the name of the project's function that a call by the name `mfa` reaches, or nil."
  def project({nil, name, arity}, module, functions, defaults) do
    Enum.find_value(module.imports, fn imported -> project({imported, name, arity}, module, functions, defaults) end)
  end

  def project(mfa, _module, functions, defaults) do
    cond do
      Map.has_key?(functions, mfa) -> mfa
      Map.has_key?(defaults, mfa) -> Map.fetch!(defaults, mfa)
      true -> nil
    end
  end

  @doc "Returns the calls of `edges`, by the function that they reach."
  def callers(edges) do
    for {from, list} <- edges,
        {to, call} <- list,
        reduce: %{},
        do: (acc -> Map.update(acc, to, [{from, call}], &[{from, call} | &1]))
  end

  @doc "Returns the functions that call themselves, in one or two steps, as `loop` to `serve` and back."
  def loops(edges) do
    direct =
      Map.new(edges, fn {mfa, list} ->
        {mfa, for({to, call} <- list, not spawned?(call), into: MapSet.new(), do: to)}
      end)

    for {mfa, next} <- direct,
        MapSet.member?(next, mfa) or Enum.any?(next, &(direct |> Map.fetch!(&1) |> MapSet.member?(mfa))),
        into: MapSet.new(),
        do: mfa
  end

  @doc "Returns the circle of functions that call each other, for each function."
  def components(edges) do
    edges
    |> Map.new(fn {mfa, list} -> {mfa, list |> Enum.map(&elem(&1, 0)) |> Enum.uniq()} end)
    |> Components.strong()
  end

  @doc "Returns the functions that accept connections."
  def accepting(functions),
    do: for({mfa, {_module, function}} <- functions, accepts?(function), into: MapSet.new(), do: mfa)

  defp accepts?(function), do: Enum.any?(function.calls, &Known.accept?(&1.mfa))

  @doc "Returns whether a call runs in a process that its function creates."
  def spawned?(call), do: Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :spawned end)

  @doc """
  Returns whether what reaches a caller of `mfa` reaches that function too.

  Functions that start a server are judged where they are called. In a closed project the messages that
  are sent tell which clauses of a callback run, not a call of it.
  """
  def passes?(reach, {_module, name, _arity} = mfa) do
    name not in @never and not (name in @starts and starter?(reach, mfa)) and
      not (reach.closed? and name in @callbacks)
  end

  @doc "Returns whether a function of the project starts a server by itself."
  def starter?(reach, mfa) do
    case reach.functions do
      %{^mfa => {_module, function}} -> Enum.any?(function.calls, &Known.server_start?(&1.mfa))
      _none -> false
    end
  end
end
