defmodule Penstock.Audit.Reach do
  @moduledoc false
  # Keeps what the modules of `reach/` find about each function:
  #
  #   * `Graph` - the functions that call it
  #   * `Events`, `Elements` - the events and the loops that run it
  #   * `Levels` - who decides the values of its parameters
  #
  # `Waits` changes the modules before that. `Conditions` is shared by `Events` and `Elements`.

  alias Penstock.Audit.{Entries, Reach, Senders, Spec}
  alias Penstock.Audit.Reach.{Elements, Events, Graph, Levels}

  defstruct modules: %{},
            functions: %{},
            edges: %{},
            callers: %{},
            params: %{},
            events: %{},
            elements: %{},
            components: %{},
            loops: MapSet.new(),
            accepting: MapSet.new(),
            entries: %{},
            closed?: false,
            senders: %{},
            active: MapSet.new(),
            specs: []

  @doc """
  Builds the reach of `modules`, in which waits are spread.

  `project?` says whether the modules are all of a project. If such a project has entries of outsiders, it is
  closed: a function that none of its functions calls is not called, and a message that no function
  sends to a server on an outsider's behalf comes from the application itself.
  """
  def build(modules, project? \\ false) do
    functions = Graph.functions(modules)
    entries = entries(functions)
    closed? = project? and Enum.any?(entries, fn {_mfa, found} -> Enum.any?(Map.values(found), &Entries.outside?/1) end)
    edges = Graph.edges(functions)

    reach = %Reach{
      modules: Map.new(modules, &{&1.name, &1}),
      functions: functions,
      entries: entries,
      closed?: closed?,
      senders: if(closed?, do: Senders.index(modules), else: %{}),
      edges: edges,
      callers: Graph.callers(edges),
      loops: Graph.loops(edges),
      accepting: Graph.accepting(functions),
      components: Graph.components(edges),
      specs: specs(modules)
    }

    reach = Events.add(%{reach | params: Levels.params(reach)})
    %{reach | elements: Elements.find(reach)}
  end

  # Most functions are no entries: the map has the others, each with the entries of its clauses.
  defp entries(functions) do
    for {mfa, {module, function}} <- functions,
        not Entries.tool?(module),
        found = entries(module, function),
        found != %{},
        into: %{},
        do: {mfa, found}
  end

  defp entries(module, function) do
    for index <- 0..(length(function.clauses) - 1)//1,
        entry = Entries.of(module, function, index),
        into: %{},
        do: {index, entry}
  end

  # The spec of a partition is in that of its PartitionSupervisor, which has the name.
  defp specs(modules) do
    specs =
      for module <- modules, {_key, function} <- module.functions, spec <- function.specs, do: {module, function, spec}

    named = for {_module, _function, %Spec{name: name} = spec} <- specs, name != nil, do: spec.node

    specs
    |> Enum.reject(fn {_module, _function, spec} -> spec.name == nil and Enum.any?(named, &inside?(&1, spec.node)) end)
    |> Enum.uniq_by(fn {module, _function, spec} -> {module.file, spec.line, spec.column, spec.name} end)
  end

  defp inside?(outer, inner) do
    {_outer, found?} = Macro.prewalk(outer, false, fn node, found? -> {node, found? or node == inner} end)
    found?
  end

  @doc "Returns whether the project has supervisors for children, and none of them has a limit."
  def unlimited?(reach),
    do: reach.closed? and reach.specs != [] and Enum.all?(reach.specs, fn {_, _, spec} -> spec.limit == :none end)

  @doc "Returns the specs of the supervisor that a call starts a child under."
  def supervisors(_reach, %{target: nil}), do: []

  def supervisors(reach, %{target: name}),
    do: for({_module, _function, spec} <- reach.specs, spec.name == name, do: spec)
end
