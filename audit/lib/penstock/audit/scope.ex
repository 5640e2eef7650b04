defmodule Penstock.Audit.Scope do
  @moduledoc false
  # Resolves the module and the function of a call from the text: by aliases, imports and the
  # functions of the module. What the compiler's tracer saw comes first, where there is a trace.

  alias Penstock.Audit.Scope

  defstruct module: nil, aliases: %{}, imports: [], functions: MapSet.new(), attributes: %{}, trace: nil

  @kernel_functions MapSet.new(Kernel.__info__(:functions) ++ Kernel.__info__(:macros))

  @standard [
    Task,
    Process,
    Enum,
    Stream,
    Task.Supervisor,
    DynamicSupervisor,
    String,
    System,
    Port,
    Agent,
    GenServer,
    List,
    Map
  ]

  @doc "Returns the module that an expression names, or nil."
  def module(%Scope{} = scope, {:__aliases__, _meta, [head | rest]}) do
    cond do
      not Enum.all?(rest, &is_atom/1) -> nil
      match?({:__MODULE__, _, _}, head) -> concat([scope.module | rest])
      head == Elixir -> Module.concat(rest)
      is_atom(head) -> concat([Map.get(scope.aliases, head, Module.concat([head])) | rest])
      true -> nil
    end
  end

  def module(%Scope{module: module}, {:__MODULE__, _meta, context}) when is_atom(context), do: module
  def module(_scope, atom) when is_atom(atom), do: atom
  def module(_scope, _expression), do: nil

  @doc "Returns the scope after an `alias`, `require` or `import`."
  def directive(scope, {:alias, _meta, [{{:., _, [base, :{}]}, _, names}]}), do: group(scope, base, names)
  def directive(scope, {:alias, _meta, [{{:., _, [base, :{}]}, _, names}, _opts]}), do: group(scope, base, names)
  def directive(scope, {:alias, _meta, [expression]}), do: put(scope, expression, nil)
  def directive(scope, {:alias, _meta, [expression, opts]}) when is_list(opts), do: put(scope, expression, opts[:as])

  def directive(scope, {:require, _meta, [expression, opts]}) when is_list(opts) do
    if opts[:as], do: put(scope, expression, opts[:as]), else: scope
  end

  def directive(scope, {:import, _meta, [expression | _opts]}) do
    case module(scope, expression) do
      nil -> scope
      module -> %{scope | imports: [module | scope.imports]}
    end
  end

  def directive(scope, _other), do: scope

  @doc "Returns the scope with an alias for a module that is defined inside of the module."
  def nested(scope, name, module) do
    if scope.module == nil, do: scope, else: %{scope | aliases: Map.put(scope.aliases, name, module)}
  end

  @doc "Returns the `{module, name, arity}` of a call with or without a module; the module may be nil."
  def remote(scope, expression, name, arity, meta) do
    normal({traced(scope, name, arity, meta) || module(scope, expression), name, arity})
  end

  def local(scope, name, arity, meta) do
    module =
      cond do
        MapSet.member?(scope.functions, {name, arity}) -> scope.module
        traced = traced(scope, name, arity, meta) -> traced
        imported = Enum.find(scope.imports, &exports?(&1, name, arity)) -> imported
        MapSet.member?(@kernel_functions, {name, arity}) -> Kernel
        true -> nil
      end

    normal({module, name, arity})
  end

  # The compiler shows spawn and the conversions of Kernel as those of :erlang.
  defp normal({Kernel, name, arity}) when name in [:spawn, :spawn_link, :spawn_monitor], do: {:erlang, name, arity}
  defp normal(mfa), do: mfa

  # A call without an event by its exact column is one that a macro moved.
  defp traced(%Scope{trace: nil}, _name, _arity, _meta), do: nil

  defp traced(%Scope{trace: trace}, name, arity, meta) do
    case Map.get(trace, {meta[:line], name, arity}) do
      nil -> nil
      [{_column, module}] -> module
      several -> Enum.find_value(several, fn {column, module} -> if column == meta[:column], do: module end)
    end
  end

  defp exports?(module, name, arity) do
    # Only Elixir's own modules are asked, since those of the project are not loaded.
    match?("Elixir." <> _, Atom.to_string(module)) and standard?(module) and function_exported?(module, name, arity)
  end

  defp standard?(module), do: module in @standard and Code.ensure_loaded?(module)

  defp group(scope, base, names) do
    case module(scope, base) do
      nil -> scope
      base -> Enum.reduce(names, scope, &group_one(&1, base, &2))
    end
  end

  defp group_one({:__aliases__, _meta, parts}, base, scope) do
    if Enum.all?(parts, &is_atom/1), do: alias_as(scope, List.last(parts), concat([base | parts])), else: scope
  end

  defp group_one(_other, _base, scope), do: scope

  defp put(scope, expression, as) do
    case {module(scope, expression), as} do
      {nil, _as} ->
        scope

      {module, {:__aliases__, _meta, [name]}} ->
        alias_as(scope, name, module)

      {module, _none} ->
        alias_as(scope, module |> Atom.to_string() |> String.split(".") |> List.last() |> String.to_atom(), module)
    end
  end

  defp alias_as(scope, name, module), do: %{scope | aliases: Map.put(scope.aliases, name, module)}
  defp concat(parts), do: Module.concat(parts)
end
