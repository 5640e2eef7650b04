defmodule Penstock.Audit.Config.Literal do
  @moduledoc false
  # Reads code whose literals are wrapped, as `Penstock.Audit.ConfigFile` has it.

  @type setting :: %{value: {:ok, term} | :unknown, node: Macro.t(), line: pos_integer, column: pos_integer}

  @doc "Returns `{:ok, term}` of a literal, a module or a list of these, or `:unknown`."
  @spec value(Macro.t()) :: {:ok, term} | :unknown
  def value({:__block__, _meta, [list]}) when is_list(list), do: all(list)
  def value({:__block__, _meta, [{left, right}]}), do: pair(left, right)
  def value({:__block__, _meta, [literal]}) when not is_tuple(literal), do: {:ok, literal}
  def value({:__block__, _meta, [inner]}), do: value(inner)

  def value({:__aliases__, _meta, parts}),
    do: if(Enum.all?(parts, &is_atom/1), do: {:ok, Module.concat(parts)}, else: :unknown)

  def value({left, right}), do: pair(left, right)
  def value(list) when is_list(list), do: all(list)
  def value(_expression), do: :unknown

  defp pair(left, right) do
    with {:ok, left} <- value(left), {:ok, right} <- value(right), do: {:ok, {left, right}}
  end

  defp all(list) do
    values = Enum.map(list, &value/1)
    if Enum.all?(values, &match?({:ok, _}, &1)), do: {:ok, Enum.map(values, &elem(&1, 1))}, else: :unknown
  end

  @doc "Returns the pairs of a keyword list or a map, each as `{key, key_node, value_node}`; none of another expression."
  @spec pairs(Macro.t()) :: [{atom, Macro.t(), Macro.t()}]
  def pairs({:__block__, _meta, [list]}) when is_list(list), do: pairs(list)
  def pairs({:%{}, _meta, list}), do: pairs(list)
  def pairs({:++, _meta, [left, right]}), do: pairs(left) ++ pairs(right)

  def pairs(list) when is_list(list) do
    for element <- list, {key, value} <- List.wrap(two(element)), {:ok, name} <- [value(key)], is_atom(name) do
      {name, key, value}
    end
  end

  def pairs(_expression), do: []

  defp two({:__block__, _meta, [{_key, _value} = pair]}), do: pair
  defp two({_key, _value} = pair), do: pair
  defp two(_element), do: []

  @doc """
  Returns the settings in nested keyword lists, by their paths: `[http: [port: 4000]]` has the paths
  `[:http]` and `[:http, :port]`.
  """
  @spec settings(Macro.t()) :: %{[atom] => setting}
  def settings(expression), do: settings(expression, [], %{})

  defp settings(expression, path, found) do
    Enum.reduce(pairs(expression), found, fn {name, key, value}, found ->
      path = path ++ [name]
      settings(value, path, Map.put(found, path, setting(key, value)))
    end)
  end

  defp setting(key, node), do: %{value: value(node), node: node, line: line(key) || 1, column: column(key) || 1}

  @doc "Returns the line of a node, or nil."
  def line({_name, meta, _args}) when is_list(meta), do: meta[:line]
  def line({left, _right}), do: line(left)
  def line(_other), do: nil

  @doc "Returns the column of a node, or nil."
  def column({_name, meta, _args}) when is_list(meta), do: meta[:column]
  def column({left, _right}), do: column(left)
  def column(_other), do: nil

  @doc "Returns whether the node is the module `module`."
  def module?({:__aliases__, _meta, parts}, module), do: Enum.all?(parts, &is_atom/1) and Module.concat(parts) == module
  def module?({:__block__, _meta, [module]}, module), do: true
  def module?(_node, _module), do: false

  @doc "Returns all nodes for which `fun` returns a list, joined."
  @spec collect(Macro.t(), (Macro.t() -> [term])) :: [term]
  def collect(nil, _fun), do: []

  def collect(quoted, fun) do
    {_quoted, found} = Macro.prewalk(quoted, [], fn node, found -> {node, [fun.(node) | found]} end)
    found |> Enum.reverse() |> Enum.concat()
  end

  @doc "Returns the line and the column at which a list ends, or nil."
  def closing({:__block__, meta, [list]}) when is_list(list) do
    case meta[:closing] do
      nil -> nil
      closing -> {closing[:line], closing[:column]}
    end
  end

  def closing(_node), do: nil
end
