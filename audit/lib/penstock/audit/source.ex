defmodule Penstock.Audit.Source do
  @moduledoc false
  # Reads a file of Elixir code, and walks through the modules in it.

  alias Penstock.Audit.{Callback, Condition, Function, Generated, Module, Origin, Routes, Scope, Walk}

  defstruct path: nil, lines: {}, quoted: nil, comments: [], modules: []

  @definitions [:def, :defp, :defmacro, :defmacrop]
  # How often a function is walked through at most, as what it calls returns more than was known.
  @rounds 5
  @routes [:get, :post, :put, :patch, :delete, :options, :head, :match, :forward]
  @schedulers [:send_after, :send_interval, :send, :start_timer]
  @delays [:send_after, :send_interval, :start_timer]
  # A local function with one of these in its body looks at a limit.
  @counts [:map_size, :length, :count_children, :process_count, :tuple_size]

  @doc "Parses `text`; returns `{:ok, source}` or `{:error, message}`."
  def parse(path, text) do
    opts = [file: path, columns: true, token_metadata: true, emit_warnings: false]

    case Code.string_to_quoted_with_comments(text, opts) do
      {:ok, quoted, comments} -> {:ok, %__MODULE__{path: path, lines: lines(text), quoted: quoted, comments: comments}}
      {:error, {meta, message, token}} -> {:error, "#{path}:#{meta[:line]}: #{message(message, token)}"}
    end
  rescue
    error in [ArgumentError, UnicodeConversionError] -> {:error, "#{path}: #{Exception.message(error)}"}
  end

  defp lines(text), do: text |> String.split(["\r\n", "\n"]) |> List.to_tuple()

  defp message({before, later}, token), do: "#{before}#{token}#{later}"
  defp message(message, token), do: "#{message}#{token}"

  @doc """
  Walks through the modules of the source. `trace` has what the compiler saw in this file, as
  `{calls, uses, macros}`, or is nil.
  """
  def walk(source, trace) do
    scope = %Scope{trace: trace && trace.calls}
    %{source | modules: modules(source.quoted, scope, source, trace), quoted: nil}
  end

  # The modules of an expression, nested ones included.
  defp modules(quoted, scope, source, trace) do
    {modules, _scope} =
      quoted
      |> expressions()
      |> Enum.reduce({[], scope}, fn expression, {modules, scope} ->
        {found, scope} = top(expression, scope, source, trace)
        {found ++ modules, scope}
      end)

    Enum.reverse(modules)
  end

  defp top({:defmodule, meta, [name, [{:do, body} | _]]}, scope, source, trace) do
    define(name, nested_name(scope, name), meta, body, :defmodule, scope, source, trace)
  end

  defp top({:defimpl, meta, [protocol | rest]}, scope, source, trace) do
    opts = rest |> List.flatten() |> Enum.filter(&match?({_key, _value}, &1))

    with protocol when protocol != nil <- Scope.module(scope, protocol), body when body != nil <- opts[:do] do
      target = opts[:for] |> List.wrap() |> List.first() |> then(&Scope.module(scope, &1))

      define(
        nil,
        Elixir.Module.concat(protocol, target || scope.module || Any),
        meta,
        body,
        :defimpl,
        scope,
        source,
        trace
      )
    else
      _none -> {[], scope}
    end
  end

  defp top({directive, _meta, _args} = expression, scope, _source, _trace)
       when directive in [:alias, :require, :import] do
    {[], Scope.directive(scope, expression)}
  end

  # As in `if Code.ensure_loaded?(Plug) do defmodule ... end`.
  defp top({name, _meta, args}, scope, source, trace) when name in [:if, :unless, :try, :case] and is_list(args) do
    case List.last(args) do
      [{:do, _body} | _] = blocks -> {Enum.flat_map(blocks, &modules(elem(&1, 1), scope, source, trace)), scope}
      _other -> {[], scope}
    end
  end

  defp top(_other, scope, _source, _trace), do: {[], scope}

  defp nested_name(%Scope{module: nil} = scope, name), do: Scope.module(%{scope | aliases: %{}}, name)

  defp nested_name(%Scope{module: outer}, {:__aliases__, _, parts}),
    do: if(Enum.all?(parts, &is_atom/1), do: Elixir.Module.concat([outer | parts]))

  defp nested_name(_scope, name) when is_atom(name), do: name
  defp nested_name(_scope, _name), do: nil

  # A module with a computed name is one that a macro generates.
  defp define(_alias, nil, _meta, _body, _kind, scope, _source, _trace), do: {[], scope}

  defp define(alias, name, meta, body, kind, outer, source, trace) do
    outer =
      with {:__aliases__, _, [head | _]} when is_atom(head) <- alias, false <- outer.module == nil do
        Scope.nested(outer, head, Elixir.Module.concat(outer.module, head))
      else
        _top -> outer
      end

    scope = %{outer | module: name, functions: MapSet.new(), attributes: %{}}

    module = %Module{
      name: name,
      file: source.path,
      line: meta[:line] || 1,
      kind: kind,
      lines: source.lines,
      schedules: schedules(body)
    }

    {module, definitions, nested, scope} = collect(expressions(body), module, scope, source, trace)
    module = used(module, trace, meta)
    functions = Enum.group_by(definitions, &{&1.name, &1.arity})

    names =
      for {{name, arity}, [first | _]} <- functions,
          n <- (arity - first.defaults)..arity,
          into: MapSet.new(),
          do: {name, n}

    limits =
      for definition <- definitions,
          kind = bound(definition),
          into: listed(functions),
          do: {{definition.name, definition.arity}, kind}

    # Imports anywhere in the body count for the whole of it, which a program that compiles keeps.
    scope = %{scope | functions: names}
    walks = settle(functions, scope, {limits, module.schedules})
    functions = Map.new(functions, fn {key, clauses} -> {key, function(clauses, walks[key], module)} end)
    functions = Enum.reduce(module.plugs, functions, &route(&1, &2, scope, limits, name))
    {functions, generated} = Generated.add(functions, name, trace)
    {nested ++ [%{module | functions: functions, generated: generated, routes: routes(module, body, scope)}], outer}
  end

  # --- the body of a module

  defp collect(expressions, module, scope, source, trace) do
    acc = {module, [], [], scope, false}

    {module, definitions, nested, scope, _impl?} =
      Enum.reduce(expressions, acc, fn expression, acc -> item(expression, acc, source, trace) end)

    {module, definitions |> Enum.reverse() |> with_heads(), nested, scope}
  end

  defp item({kind, meta, [head | rest]}, {module, definitions, nested, scope, impl?}, _source, _trace)
       when kind in @definitions do
    case definition(kind, meta, head, rest, scope, impl?) do
      nil -> {module, definitions, nested, scope, false}
      definition -> {module, [definition | definitions], nested, scope, false}
    end
  end

  defp item({:@, _meta, [{:impl, _, [value]}]}, {module, definitions, nested, scope, _impl?}, _source, _trace) do
    {module, definitions, nested, scope, value != false}
  end

  defp item({:@, _meta, [{:behaviour, _, [expression]}]}, {module, definitions, nested, scope, impl?}, _source, _trace) do
    behaviours = [Scope.module(scope, expression) | module.behaviours]
    {%{module | behaviours: behaviours}, definitions, nested, scope, impl?}
  end

  defp item({:@, _meta, [{name, _, [value]}]}, {module, definitions, nested, scope, impl?}, _source, _trace) do
    value = Scope.module(scope, value) || value
    scope = %{scope | attributes: Map.put(scope.attributes, name, value)}
    {%{module | attributes: scope.attributes}, definitions, nested, scope, impl?}
  end

  defp item({:use, _meta, [expression | opts]}, {module, definitions, nested, scope, impl?}, _source, _trace) do
    uses =
      case Scope.module(scope, expression) do
        nil -> module.uses
        used -> [{used, Enum.find(opts, &is_atom/1)} | module.uses]
      end

    {%{module | uses: uses}, definitions, nested, scope, impl?}
  end

  defp item({name, _meta, _args} = directive, {module, definitions, nested, scope, impl?}, _source, _trace)
       when name in [:alias, :require, :import] do
    scope = Scope.directive(scope, directive)
    {%{module | imports: scope.imports}, definitions, nested, scope, impl?}
  end

  defp item({:plug, _meta, _args} = plug, {module, definitions, nested, scope, impl?}, _source, _trace) do
    {%{module | plugs: [plug | module.plugs]}, definitions, nested, scope, impl?}
  end

  defp item({name, _meta, [_path | _]} = route, {module, definitions, nested, scope, impl?}, _source, _trace)
       when name in @routes do
    {%{module | plugs: [route | module.plugs]}, definitions, nested, scope, impl?}
  end

  defp item({kind, _meta, _args} = expression, {module, definitions, nested, scope, impl?}, source, trace)
       when kind in [:defmodule, :defimpl] do
    {found, scope} = top(expression, scope, source, trace)
    {module, definitions, found ++ nested, scope, impl?}
  end

  # Definitions inside of `if`, `for` or a macro with a block.
  defp item({name, _meta, args}, acc, source, trace) when is_list(args) and args != [] and name != :quote do
    case List.last(args) do
      [{:do, _} | _] = blocks ->
        blocks |> Keyword.values() |> Enum.flat_map(&expressions/1) |> Enum.reduce(acc, &item(&1, &2, source, trace))

      _other ->
        acc
    end
  end

  defp item(_other, acc, _source, _trace), do: acc

  defp definition(kind, meta, head, rest, scope, impl?) do
    {head, guards} =
      case head do
        {:when, _, [head | guards]} -> {head, guards}
        head -> {head, []}
      end

    with {name, _, params} when is_atom(name) <- head, {:ok, body} <- body(rest) do
      params = if is_list(params), do: params, else: []

      %{
        kind: kind,
        name: name,
        arity: length(params),
        params: params,
        guards: guards,
        body: body,
        line: meta[:line] || 1,
        defaults: Enum.count(params, &match?({:\\, _, _}, &1)),
        impl?: impl?,
        scope: scope
      }
    else
      # A computed name.
      _other -> nil
    end
  end

  # The head of a function without a body has its defaults.
  defp body([]), do: {:ok, :head}
  defp body([[{:do, body}]]), do: {:ok, body}
  defp body([[{:do, _} | _] = blocks]), do: {:ok, {:try, [], [blocks]}}
  defp body(_other), do: :error

  # Gives the defaults of heads to the clauses.
  defp with_heads(definitions) do
    {heads, clauses} = Enum.split_with(definitions, &(&1.body == :head))
    defaults = Map.new(heads, &{{&1.name, &1.arity}, &1.defaults})

    Enum.map(clauses, fn clause ->
      Map.update!(clause, :defaults, &max(&1, Map.get(defaults, {clause.name, clause.arity}, 0)))
    end)
  end

  # --- functions

  defp function([first | _] = clauses, states, module) do
    base = %Function{
      module: module.name,
      name: first.name,
      arity: first.arity,
      defaults: clauses |> Enum.map(& &1.defaults) |> Enum.max(),
      kind: first.kind,
      line: first.line,
      impl?: Enum.any?(clauses, & &1.impl?)
    }

    gather(%{base | quoted: clauses |> Enum.flat_map(&quoted/1) |> Enum.uniq()}, clauses, states)
  end

  # Walks through all functions, and again through those that call one whose result is now known to
  # come from elsewhere. Results only rise, and rises after some rounds do not matter.
  defp settle(functions, scope, bounds) do
    returns = for {key, clauses} <- functions, key <- arities(key, clauses), into: %{}, do: {key, Origin.fixed()}
    settle(Map.keys(functions), functions, %{}, returns, {scope, bounds}, @rounds)
  end

  defp settle([], _functions, walks, _returns, _settings, _rounds), do: walks
  defp settle(_keys, _functions, walks, _returns, _settings, 0), do: walks

  defp settle(keys, functions, walks, returns, {scope, bounds} = settings, rounds) do
    walks =
      Enum.reduce(keys, walks, fn key, walks -> Map.put(walks, key, walks(functions[key], scope, bounds, returns)) end)

    results =
      for key <- keys, result = result(walks[key]), key <- arities(key, functions[key]), into: %{}, do: {key, result}

    changed = for {key, result} <- results, result != returns[key], into: MapSet.new(), do: key
    callers = for {key, states} <- walks, Enum.any?(states, &calls_any?(&1, scope.module, changed)), do: key
    settle(callers, functions, walks, Map.merge(returns, results), settings, rounds - 1)
  end

  defp result(states), do: states |> Enum.map(& &1.result) |> Origin.join_all()

  # A function whose parameters have defaults is called with fewer arguments too.
  defp arities({name, arity}, clauses) do
    defaults = clauses |> Enum.map(& &1.defaults) |> Enum.max()
    for n <- (arity - defaults)..arity, do: {name, n}
  end

  defp calls_any?(state, module, keys) do
    Enum.any?(state.calls, fn %{mfa: {called, name, arity}} ->
      called == module and MapSet.member?(keys, {name, arity})
    end)
  end

  defp walks(clauses, scope, {limits, schedules}, returns) do
    {states, _kinds} =
      clauses
      |> Enum.with_index()
      |> Enum.map_reduce(%{}, fn {clause, index}, kinds ->
        clause_scope = %{
          clause.scope
          | functions: scope.functions,
            imports: scope.imports,
            attributes: scope.attributes
        }

        # An earlier clause for the same message that refuses guards the later ones.
        tag = tag(List.first(clause.params))
        kind = Condition.stronger(Condition.clause(clause.params, clause.guards, clause_scope, limits), kinds[tag])
        frames = if kind, do: [{{:clause, index}, :guard, kind}], else: []
        frames = recursion(clause, index) ++ Callback.frames(clause, index, tag, schedules) ++ frames
        settings = %{scope: clause_scope, limits: limits, returns: returns, frames: frames}
        {Walk.clause(clause.params, clause.guards, clause.body, index, settings), Map.put(kinds, tag, kind)}
      end)

    states
  end

  defp quoted(%{kind: kind, body: body, scope: scope}) when kind in [:defmacro, :defmacrop],
    do: Generated.quoted(body, scope)

  defp quoted(_clause), do: []

  defp gather(base, clauses, states) do
    %{
      base
      | clauses: Enum.map(clauses, &Map.take(&1, [:params, :guards, :line])),
        calls: Enum.flat_map(states, &Enum.reverse(&1.calls)),
        awaits: Enum.reduce(states, MapSet.new(), &MapSet.union(&1.awaits, &2)),
        awaits?: Enum.any?(states, & &1.awaits?),
        receives?: Enum.any?(states, & &1.receives?),
        reads: Enum.reduce(states, MapSet.new(), &MapSet.union(&1.reads, &2)),
        specs: Enum.flat_map(states, & &1.specs)
    }
  end

  # A clause that calls itself with the rest of a list, or with a smaller number, is a loop over it.
  defp recursion(%{kind: kind} = clause, index) when kind in [:def, :defp] do
    case Enum.find_index(clause.params, &shrinks?(&1, clause)) do
      nil ->
        []

      i ->
        [{{:recursion, index}, :loop, {Origin.param(i), {nil, clause.name, clause.arity}, clause.line}}]
    end
  end

  defp recursion(_clause, _index), do: []

  defp shrinks?(param, clause) do
    case rest(param) do
      nil -> false
      name -> calls_itself?(clause, name)
    end
  end

  defp rest([{:|, _, [_head, {name, _, context}]}]) when is_atom(context), do: {:rest, name}
  defp rest({:=, _, [left, right]}), do: rest(left) || rest(right)
  defp rest({name, _, context}) when is_atom(name) and is_atom(context), do: {:number, name}
  defp rest(_param), do: nil

  defp calls_itself?(%{name: name, arity: arity, body: body}, rest) do
    {_body, found?} =
      Macro.prewalk(body, false, fn
        {^name, _meta, args} = node, found? when is_list(args) ->
          {node, found? or (length(args) in [arity, arity - 1] and Enum.any?(args, &smaller?(&1, rest)))}

        # Code in a fun runs later, if it runs.
        {:fn, _meta, _clauses}, found? ->
          {nil, found?}

        node, found? ->
          {node, found?}
      end)

    found?
  end

  defp smaller?({name, _, context}, {:rest, name}) when is_atom(context), do: true
  defp smaller?({:-, _, [{name, _, context}, _by]}, {:number, name}) when is_atom(context), do: true
  defp smaller?(_arg, _rest), do: false

  # A function with a clause for each of some texts accepts only these. A function whose last clause
  # returns its text unchanged accepts all texts.
  defp listed(functions) do
    for {key, clauses} <- functions,
        Enum.count(clauses, fn clause -> Enum.any?(clause.params, &is_binary/1) end) > 1,
        not Enum.any?(clauses, &returns_argument?/1),
        into: %{},
        do: {key, :member}
  end

  defp returns_argument?(%{params: params, body: {name, _meta, context}}) when is_atom(name) and is_atom(context),
    do: Enum.any?(params, &match?({^name, _, context} when is_atom(context), &1))

  defp returns_argument?(_clause), do: false

  # The bound that a local function looks at, for the conditions that call it.
  defp bound(%{body: body, name: name}) do
    {_body, {counts?, compares?, unset?}} =
      Macro.prewalk(body, {false, false, false}, fn
        {name, _, _} = node, {_counts?, compares?, unset?} when name in @counts ->
          {node, {true, compares?, unset?}}

        {{:., _, [_, name]}, _, _} = node, {_counts?, compares?, unset?} when name in @counts ->
          {node, {true, compares?, unset?}}

        {name, _, [_, right]} = node, {counts?, _, unset?} when name in [:<, :>, :<=, :>=] and right not in [0, 1] ->
          {node, {counts?, true, unset?}}

        {:is_nil, _, [value]} = node, {counts?, compares?, unset?} ->
          {node, {counts?, compares?, unset? or Condition.field?(value)}}

        {:==, _, [value, nil]} = node, {counts?, compares?, unset?} ->
          {node, {counts?, compares?, unset? or Condition.field?(value)}}

        node, acc ->
          {node, acc}
      end)

    cond do
      counts? and compares? -> :limit
      unset? and String.ends_with?(Atom.to_string(name), "?") -> :unset
      true -> nil
    end
  end

  defp routes(module, body, scope) do
    router? = Module.is?(module, [Phoenix.Router]) or Module.uses_as?(module, [:router])
    if router?, do: Routes.of(body, scope), else: {[], []}
  end

  # --- routes of Plug.Router

  defp route({name, meta, args}, functions, scope, limits, module) when name in @routes do
    case List.last(args) do
      [{:do, body} | _] ->
        conn = [{:conn, [], nil}, {:opts, [], nil}]
        index = map_size(functions)
        state = Walk.clause(conn, [], body, index, %{scope: scope, limits: limits, returns: %{}})
        key = {:"#{name} #{path(args)}", 2}
        base = %Function{module: module, name: elem(key, 0), arity: 2, line: meta[:line] || 1, kind: :route}

        function =
          gather(base, [%{params: conn, guards: [], line: meta[:line]}], [
            %{state | calls: Enum.map(state.calls, &%{&1 | clause: 0})}
          ])

        Map.put(functions, key, function)

      _other ->
        functions
    end
  end

  defp route(_plug, functions, _scope, _limits, _module), do: functions

  # An atom has at most 255 characters, and the method comes first.
  @shown 200
  defp path([path | _]) when is_binary(path), do: String.slice(path, 0, @shown)
  defp path(_args), do: "_"

  # --- what the module as a whole does

  # The tags of the messages that the module sends to itself.
  defp schedules(body) do
    {_body, tags} =
      Macro.prewalk(body, MapSet.new(), fn
        {{:., _, [_module, name]}, _, args} = node, tags when name in @schedulers and is_list(args) ->
          {node, tags(args, name in @delays, tags)}

        {:send, _, args} = node, tags when is_list(args) ->
          {node, tags(args, false, tags)}

        {:defmodule, _, _}, tags ->
          {nil, tags}

        node, tags ->
          {node, tags}
      end)

    tags
  end

  # A delayed message to a variable is for the process itself, as in `schedule(self(), :poll)`.
  defp tags(args, delayed?, tags) do
    self? =
      length(args) < 3 or
        Enum.any?(args, fn
          {name, _meta, context} when is_atom(name) and is_atom(context) -> delayed? or name == :__MODULE__
          other -> match?({:self, _, _}, other)
        end)

    if self?, do: Enum.reduce(args, tags, &put_tag(tag(&1), &2)), else: tags
  end

  defp put_tag(nil, tags), do: tags
  defp put_tag(tag, tags), do: MapSet.put(tags, tag)

  @doc "Returns the atom that tells the kind of a message: the atom itself or that of a tuple. Or nil."
  def tag(atom) when is_atom(atom) and atom not in [nil, true, false], do: atom
  def tag({first, _second}), do: tag(first)
  def tag({:{}, _meta, [first | _]}), do: tag(first)
  def tag({:=, _meta, [left, right]}), do: tag(left) || tag(right)
  def tag(_other), do: nil

  # A `use` may bring in further ones.
  defp used(module, nil, _meta), do: module

  defp used(module, trace, _meta) do
    further = for {name, used} <- trace.uses, name == module.name, do: {used, nil}
    %{module | uses: Enum.uniq(module.uses ++ further)}
  end

  defp expressions({:__block__, _meta, expressions}), do: expressions
  defp expressions(nil), do: []
  defp expressions(expression), do: [expression]
end
