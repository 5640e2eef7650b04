defmodule Penstock.Audit.Spec do
  @moduledoc false
  # A DynamicSupervisor or a Task.Supervisor that the code starts: its name and its limit.

  alias Penstock.Audit.{Scope, Spec}

  defstruct module: nil, name: nil, limit: nil, line: nil, column: nil, node: nil, opts: []

  @type t :: %Spec{
          module: module,
          name: atom | nil,
          limit: :none | :unknown | {:some, Macro.t()},
          line: pos_integer | nil,
          column: pos_integer | nil,
          node: Macro.t(),
          opts: Macro.t()
        }

  @supervisors [DynamicSupervisor, Task.Supervisor]

  @doc "Returns the supervisor that a child spec as a tuple or a map starts, or nil."
  def of_literal({subject, opts} = tuple, scope) do
    case Scope.module(scope, subject) do
      module when module in @supervisors -> build(module, opts, line(subject), column(subject), tuple, scope)
      PartitionSupervisor -> partitioned(opts, subject, tuple, scope)
      _other -> nil
    end
  end

  def of_literal({:{}, meta, [subject, :start_link, [opts]]} = tuple, scope) do
    case Scope.module(scope, subject) do
      module when module in @supervisors -> build(module, opts, meta[:line], meta[:column], tuple, scope)
      _other -> nil
    end
  end

  def of_literal(_expression, _scope), do: nil

  @doc "Returns the supervisor that a call starts, or nil."
  def of_call({module, name, 1}, [opts], meta, scope)
      when module in @supervisors and name in [:start_link, :child_spec] do
    build(module, opts, meta[:line], meta[:column], {name, [], [opts]}, scope)
  end

  def of_call({DynamicSupervisor, :init, 1}, [opts], meta, scope) do
    spec = build(DynamicSupervisor, opts, meta[:line], meta[:column], {:init, [], [opts]}, scope)
    %{spec | name: scope.module}
  end

  def of_call(_mfa, _args, _meta, _scope), do: nil

  # The name of the partitions is that of their supervisor; the limit is in the spec of a partition.
  defp partitioned(opts, subject, tuple, scope) when is_list(opts) do
    with true <- Keyword.keyword?(opts),
         child when child != nil <- opts[:child_spec],
         {module, child_opts} <- partition(child, scope) do
      spec = build(module, child_opts, line(subject), column(subject), tuple, scope)
      %{spec | name: name(opts[:name], scope)}
    else
      _none -> nil
    end
  end

  defp partitioned(_opts, _subject, _tuple, _scope), do: nil

  defp partition({subject, opts}, scope), do: partition(Scope.module(scope, subject), opts, nil)

  defp partition({{:., _, [subject, :child_spec]}, _, [opts]}, scope),
    do: partition(Scope.module(scope, subject), opts, nil)

  defp partition(subject, scope), do: partition(Scope.module(scope, subject), [], nil)

  defp partition(module, opts, _nil) when module in @supervisors, do: {module, opts}
  defp partition(_module, _opts, _nil), do: nil

  defp build(module, opts, line, column, node, scope) do
    keyword? = is_list(opts) and Keyword.keyword?(opts)

    %Spec{
      module: module,
      name: if(keyword?, do: name(opts[:name], scope)),
      limit: limit(opts, keyword?),
      line: line || first_line(opts),
      column: column,
      node: node,
      opts: opts
    }
  end

  defp limit(_opts, false), do: :unknown
  defp limit(opts, true), do: opts |> Keyword.get(:max_children, :infinity) |> limit()
  defp limit(:infinity), do: :none
  defp limit(expression), do: {:some, expression}

  @doc "Returns the module that the spec of a child names, or nil."
  def child({:%{}, _meta, pairs}, scope) do
    with {:start, {:{}, _, [module | _rest]}} <- List.keyfind(pairs, :start, 0),
         do: Scope.module(scope, module),
         else: (_none -> nil)
  end

  def child({{:., _, [_module, :child_spec]}, _meta, [child, _overrides]}, scope), do: child(child, scope)
  def child({{:., _, [module, :child_spec]}, _meta, [_arg]}, scope), do: Scope.module(scope, module)
  def child({{:__aliases__, _, _} = module, _arg}, scope), do: Scope.module(scope, module)
  def child({{:__MODULE__, _, _} = module, _arg}, scope), do: Scope.module(scope, module)
  def child({:__aliases__, _, _} = module, scope), do: Scope.module(scope, module)
  def child(_expression, _scope), do: nil

  @doc "Returns the name of a supervisor in an expression, or nil."
  def name(nil, _scope), do: nil

  def name({:@, _, [{attribute, _, context}]}, scope) when is_atom(context),
    do: name(scope.attributes[attribute], scope)

  def name({:{}, _, [:via, registry, {:{}, _, [name | _key]}]}, scope), do: via(registry, name, scope)
  def name({:{}, _, [:via, registry, {name, _key}]}, scope), do: via(registry, name, scope)
  def name(expression, scope), do: Scope.module(scope, expression)

  defp via(registry, name, scope), do: if(Scope.module(scope, registry) == PartitionSupervisor, do: name(name, scope))

  defp line({_name, meta, _args}), do: meta[:line]
  defp line(_other), do: nil
  defp column({_name, meta, _args}), do: meta[:column]
  defp column(_other), do: nil

  defp first_line(opts) do
    {_opts, line} = Macro.prewalk(opts, nil, fn node, line -> {node, line || line(node)} end)
    line
  end
end
