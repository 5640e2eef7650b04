defmodule Penstock.Install.Tree do
  # Finds in the source of an application module where its children are, and which have names.
  #
  # Reads the source only, since a project that is being set up may not compile.
  @moduledoc false

  @enforce_keys [:start_line, :list, :named]
  defstruct @enforce_keys

  @typedoc "A list of children: its brackets, and whether a variable `children` holds it."
  @type children :: %{
          open: {pos_integer, pos_integer},
          close_line: pos_integer,
          first_line: pos_integer | nil,
          variable?: boolean
        }
  @type named :: %{module: String.t(), name: String.t(), line: pos_integer}
  @type t :: %__MODULE__{start_line: pos_integer | nil, list: children | nil, named: [named]}

  @doc "Reads the module of that name. Returns `:error` if the text does not define it or has an error."
  @spec read(String.t(), String.t()) :: {:ok, t} | :error
  def read(text, module) do
    with {:ok, quoted} <- parse(text), [body | _] <- bodies(quoted, "", module) do
      aliases = aliases(quoted, module)
      starts = starts(body)

      {:ok,
       %__MODULE__{
         start_line: with([{line, _body} | _] <- starts, do: line, else: (_none -> nil)),
         list: Enum.find_value(starts, fn {_line, body} -> assigned(body) || passed(body) end),
         named: named(body, aliases)
       }}
    else
      _no_such_module -> :error
    end
  end

  @doc "Returns the line of a function in the text, in any of its modules."
  @spec line_of(String.t(), atom) :: pos_integer | nil
  def line_of(text, function) do
    with {:ok, quoted} <- parse(text) do
      {_quoted, line} =
        Macro.prewalk(quoted, nil, fn
          {kind, meta, [{^function, _, _} | _]} = node, nil when kind in [:def, :defp] -> {node, meta[:line]}
          node, line -> {node, line}
        end)

      line
    else
      _error -> nil
    end
  end

  # Literals keep their places, as the child of a block. Sources may hold names that no code has.
  defp parse(text) do
    opts = [
      columns: true,
      token_metadata: true,
      emit_warnings: false,
      literal_encoder: &{:ok, {:__block__, &2, [&1]}}
    ]

    with {:error, _reason} <- Code.string_to_quoted(text, opts), do: :error
  rescue
    # The text is not UTF-8.
    _error in [UnicodeConversionError, ArgumentError] -> :error
  end

  # All bodies of the module, which may be nested in others.
  defp bodies({:defmodule, _, [{:__aliases__, _, parts}, [{_do, body} | _]]}, outer, module) do
    name = join(outer, parts)
    if name == module, do: [body], else: bodies(body, name, module)
  end

  defp bodies({:__block__, _, expressions}, outer, module), do: Enum.flat_map(expressions, &bodies(&1, outer, module))
  defp bodies(_other, _outer, _module), do: []

  defp join("", parts), do: dotted(parts)
  defp join(outer, parts), do: outer <> "." <> dotted(parts)

  defp dotted(parts), do: Enum.map_join(parts, ".", &if(is_atom(&1), do: Atom.to_string(&1), else: "_"))

  # The short names that aliases of the file give, with the long ones.
  defp aliases(quoted, module) do
    {_quoted, aliases} =
      Macro.prewalk(quoted, %{"__MODULE__" => module}, fn
        {:alias, _, [named | opts]} = node, aliases -> {node, Map.merge(aliases, pairs(named, opts))}
        node, aliases -> {node, aliases}
      end)

    aliases
  end

  defp pairs({:__aliases__, _, parts}, opts) do
    case with([opts] <- opts, do: value(opts, :as)) do
      {:__aliases__, _, short} -> %{dotted(short) => dotted(parts)}
      _default -> %{dotted([List.last(parts)]) => dotted(parts)}
    end
  end

  defp pairs({{:., _, [{:__aliases__, _, outer}, :{}]}, _, inner}, _opts) do
    for {:__aliases__, _, parts} <- inner, into: %{}, do: {dotted([List.last(parts)]), dotted(outer ++ parts)}
  end

  defp pairs(_other, _opts), do: %{}

  # The functions `start/2`: line and body.
  defp starts({:__block__, _, expressions}), do: Enum.flat_map(expressions, &starts/1)
  defp starts({:def, meta, [{:when, _, [head | _]}, body]}), do: starts({:def, meta, [head, body]})
  defp starts({:def, meta, [{:start, _, [_, _]}, [{_do, body} | _]]}), do: [{meta[:line], body}]
  defp starts(_other), do: []

  # `children = [...]`, also with `++` behind the list.
  defp assigned(body) do
    first(body, fn
      {:=, _, [{:children, _, context}, value]} when is_atom(context) -> list(value, true)
      _other -> nil
    end)
  end

  # `Supervisor.start_link([...], opts)`
  defp passed(body) do
    first(body, fn
      {{:., _, [{:__aliases__, _, [:Supervisor]}, :start_link]}, _, [children | _]} -> list(children, false)
      {:|>, _, [children, {{:., _, [{:__aliases__, _, [:Supervisor]}, :start_link]}, _, _}]} -> list(children, false)
      _other -> nil
    end)
  end

  defp first(body, fun) do
    {_body, found} = Macro.prewalk(body, nil, fn node, found -> {node, found || fun.(node)} end)
    found
  end

  defp list({:++, _, [left, _right]}, variable?), do: list(left, variable?)

  defp list({:__block__, meta, [elements]}, variable?) when is_list(elements) do
    %{
      open: {meta[:line], meta[:column]},
      close_line: meta[:closing][:line],
      first_line: with([element | _] <- elements, do: line(element), else: (_empty -> nil)),
      variable?: variable?
    }
  end

  defp list(_other, _variable?), do: nil

  # The line on which an expression begins.
  defp line(node) do
    {_node, lines} =
      Macro.prewalk(node, [], fn
        {_, meta, _} = node, lines -> {node, Keyword.get_values(meta, :line) ++ lines}
        node, lines -> {node, lines}
      end)

    Enum.min(lines)
  end

  # The children of the form `{Module, name: Name, ...}`, wherever the module has them.
  defp named(body, aliases) do
    {_body, named} =
      Macro.prewalk(body, [], fn
        {:__block__, meta, [{{:__aliases__, _, module}, opts}]} = node, named ->
          case value(opts, :name) do
            {:__aliases__, _, name} ->
              {node, [%{module: long(module, aliases), name: long(name, aliases), line: meta[:line]} | named]}

            _no_name ->
              {node, named}
          end

        node, named ->
          {node, named}
      end)

    Enum.reverse(named)
  end

  defp long([{:__MODULE__, _, _} | rest], aliases), do: join(aliases["__MODULE__"], rest)

  defp long([first | rest] = parts, aliases) do
    case aliases[dotted([first])] do
      nil -> dotted(parts)
      outer when rest == [] -> outer
      outer -> join(outer, rest)
    end
  end

  # The value of a key in options, with brackets or without.
  defp value({:__block__, _, [opts]}, key), do: value(opts, key)

  defp value(opts, key) when is_list(opts) do
    Enum.find_value(opts, fn
      {{:__block__, _, [^key]}, value} -> value
      _other -> nil
    end)
  end

  defp value(_other, _key), do: nil
end
