defmodule Penstock.Audit.Walk do
  @moduledoc false
  # Walks through the body of a function once, as the program would run: it records each call with
  # the code around it, and follows where values come from.
  #
  # The state:
  #
  #   * `env` - the origin of each variable, `marks` - the bound that a variable was computed from,
  #     `targets` - the supervisor or the child that a variable names, see `Penstock.Audit.Walk.Target`
  #   * `frames` - what encloses the place, as `Penstock.Audit.Call` says
  #   * `calls`, `awaits`, `reads`, `specs` - what was found

  alias Penstock.Audit.{Call, Condition, Known, Origin, Polarity, Query, Scope, Spec}
  alias Penstock.Audit.Walk.{Guard, Pattern, Place, Result, Target}

  import Pattern, only: [bind: 3, bind_generator: 3, names: 1, patterns: 1, read: 2]
  import Place, only: [await: 1, await: 2, branched: 2, guarded: 2, leave: 2, push: 3, spawned?: 1]

  @operators [:+, :-, :*, :/, :<>, :++, :--, :==, :!=, :===, :!==, :<, :>, :<=, :>=, :!, :not, :in]
  @discarding [:each, :foreach]
  # A range in the text up to more than this is as good as no bound.
  @many 10_000

  @doc "Walks through a clause with `params` and `body`; returns the state."
  def clause(params, guards, body, index, settings) do
    state =
      Map.merge(settings, %{
        env: %{},
        marks: %{},
        targets: %{},
        frames: Map.get(settings, :frames, []),
        calls: [],
        awaits: MapSet.new(),
        awaits?: false,
        receives?: false,
        reads: MapSet.new(),
        specs: [],
        captures: [],
        clause: index,
        next: index * 1_000_000
      })

    state =
      params
      |> Enum.with_index()
      |> Enum.reduce(state, fn {param, i}, state -> bind(param, Origin.param(i), state) end)

    state = Enum.reduce(guards, state, fn guard, state -> guard |> eval(:used, state) |> elem(1) end)
    {origin, state} = eval(body, :returned, state)
    Map.put(state, :result, origin)
  end

  # --- expressions

  defp eval({:__block__, _meta, []}, _use, state), do: {Origin.fixed(), state}

  defp eval({:__block__, _meta, expressions}, use, state) do
    {init, [last]} = Enum.split(expressions, -1)
    frames = state.frames

    state =
      Enum.reduce(init, state, fn expression, state ->
        {_origin, state} = eval(expression, :discarded, state)
        guarded(Guard.leaving(expression, state), state)
      end)

    {origin, state} = eval(last, use, state)
    {origin, %{state | frames: frames}}
  end

  defp eval({:=, _meta, [pattern, expression]}, _use, state) do
    {origin, state} = eval(expression, {:bound, names(pattern)}, state)
    mark = Guard.kind(expression, state)
    target = Target.of(expression, state)
    state = bind(pattern, origin, state)

    case pattern do
      {name, _, context} when is_atom(name) and is_atom(context) ->
        {origin, %{state | marks: put(state.marks, name, mark), targets: put(state.targets, name, target)}}

      _pattern ->
        {origin, state}
    end
  end

  defp eval({:|>, meta, [left, right]}, use, state) do
    case pipe(left, right) do
      {:ok, call} -> eval(call, use, state)
      :error -> eval_args([left, right], meta, state)
    end
  end

  defp eval({:fn, _meta, clauses}, _use, state), do: {Origin.fixed(), fun(clauses, [], :used, state)}

  defp eval({:&, _meta, [index]}, _use, state) when is_integer(index),
    do: {Enum.at(state.captures, index - 1, Origin.own()), state}

  defp eval({:&, _meta, _body} = capture, _use, state), do: {Origin.fixed(), capture(capture, [], :used, state)}

  defp eval({:case, _meta, [subject, [{:do, clauses} | _]]}, use, state) when is_list(clauses) do
    {origin, asked} = eval(subject, :used, guarded(Condition.started(clauses), state))
    state = %{asked | frames: state.frames}
    kind = Guard.subject(subject, clauses, state)
    inner = push(:branch, nil, state)
    clauses(clauses, [origin], use, inner, state, &Polarity.clause(kind, subject, &1, &2))
  end

  defp eval({name, _meta, [condition, [{:do, _} | _] = blocks]}, use, state) when name in [:if, :unless] do
    {_origin, state} = eval(condition, :used, state)
    kind = Guard.condition(condition, state)

    {origins, inner} =
      Enum.map_reduce(blocks, state, fn {key, body}, inner ->
        env = inner.env
        holds? = key == :do == (name == :if)
        inner = kind |> Polarity.branch(condition, holds?) |> branched(%{inner | frames: state.frames})
        inner = if name == :unless or Guard.negated?(condition), do: push(:absent, nil, inner), else: inner
        {origin, inner} = eval(body, use, inner)
        {origin, %{inner | env: env}}
      end)

    {Origin.join_all(origins), leave(inner, state)}
  end

  defp eval({:cond, _meta, [[{:do, clauses} | _]]}, use, state) when is_list(clauses) do
    {origins, inner} =
      Enum.map_reduce(clauses, state, fn
        {:->, _, [[condition], body]}, inner ->
          {_origin, inner} = eval(condition, :used, inner)
          inner = condition |> Guard.condition(inner) |> Polarity.branch(condition, true) |> branched(inner)
          env = inner.env
          {origin, inner} = eval(body, use, inner)
          {origin, %{inner | env: env}}

        _other, inner ->
          {Origin.own(), inner}
      end)

    {Origin.join_all(origins), leave(inner, state)}
  end

  defp eval({:with, _meta, args}, use, state) when is_list(args) do
    {generators, blocks} = split_blocks(args)

    inner =
      Enum.reduce(generators, state, fn
        {:<-, _, [pattern, expression]}, inner ->
          {origin, inner} = eval(expression, {:bound, names(pattern)}, inner)
          {patterns, guards} = patterns([pattern])
          clause = Condition.clause(patterns, guards, inner.scope, inner.limits)
          kind = expression |> Guard.kind(inner) |> Polarity.clause(expression, hd(patterns), [])
          bind(pattern, origin, branched(Condition.stronger(kind, clause), inner))

        expression, inner ->
          {_origin, inner} = eval(expression, :used, inner)
          guarded(Guard.filter(expression, inner), inner)
      end)

    {origin, inner} = eval(blocks[:do], use, inner)
    inner = leave(inner, state)

    case blocks[:else] do
      clauses when is_list(clauses) ->
        {other, inner} = clauses(clauses, [Origin.own()], use, inner, inner)
        {Origin.join(origin, other), inner}

      _none ->
        {origin, inner}
    end
  end

  defp eval({:for, _meta, args}, use, state) when is_list(args) do
    {generators, blocks} = split_blocks(args)

    {count, inner} =
      Enum.reduce(generators, {nil, state}, fn
        {:<-, meta, [pattern, collection]}, {_count, inner} ->
          {origin, inner} = eval(collection, :used, inner)

          {origin,
           bind(
             pattern,
             Origin.element(origin),
             push(:loop, {origin, {Kernel.SpecialForms, :for, 2}, meta[:line]}, inner)
           )}

        {:<<>>, meta, parts}, {_count, inner} ->
          origin = binary_generator(parts, inner)
          inner = push(:loop, {origin, {Kernel.SpecialForms, :for, 2}, meta[:line]}, inner)
          {origin, Enum.reduce(parts, inner, &bind_generator(&1, origin, &2))}

        filter, {count, inner} ->
          {_origin, inner} = eval(filter, :used, inner)
          {count, guarded(Guard.filter(filter, inner), inner)}
      end)

    {origin, inner} = eval(Keyword.get(blocks, :do), if(use == :discarded, do: :discarded, else: :used), inner)
    {Origin.mapped(count || Origin.own(), origin), leave(inner, state)}
  end

  defp eval({:receive, meta, [blocks]}, use, state) when is_list(blocks) do
    state = await(%{state | receives?: state.receives? or not spawned?(state)}, pinned?(blocks[:do]))
    inner = push(:receive, meta[:line], state)
    {origin, inner} = clauses(List.wrap(blocks[:do]), [Origin.argument()], use, inner, inner)

    case blocks[:after] do
      [{:->, _, [[timeout], body]}] ->
        {_origin, inner} = eval(timeout, :used, inner)
        {other, inner} = eval(body, use, leave(inner, state))
        {Origin.join(origin, other), inner}

      _none ->
        {origin, leave(inner, state)}
    end
  end

  defp eval({:try, _meta, [blocks]}, use, state) when is_list(blocks) do
    Enum.reduce(blocks, {Origin.fixed(), state}, fn
      {:do, body}, {origin, inner} ->
        {other, inner} = eval(body, use, inner)
        {Origin.join(origin, other), leave(inner, state)}

      {:after, body}, {origin, inner} ->
        {_other, inner} = eval(body, :discarded, inner)
        {origin, leave(inner, state)}

      {_kind, clauses}, {origin, inner} when is_list(clauses) ->
        {other, inner} = clauses(clauses, [Origin.own()], use, inner, inner)
        {Origin.join(origin, other), leave(inner, state)}

      _other, acc ->
        acc
    end)
  end

  # Code inside of quote runs in other modules, if at all.
  defp eval({:quote, _meta, _args}, _use, state), do: {Origin.fixed(), state}
  defp eval({:@, _meta, [_attribute]}, _use, state), do: {Origin.fixed(), state}

  defp eval({name, _meta, _args} = directive, _use, state) when name in [:alias, :require, :import] do
    {Origin.fixed(), %{state | scope: Scope.directive(state.scope, directive)}}
  end

  defp eval({operator, _meta, [left, right]}, use, state) when operator in [:&&, :and] do
    {_origin, inner} = eval(left, :used, state)
    inner = left |> Guard.kind(inner) |> Polarity.branch(left, true) |> guarded(inner)
    {origin, inner} = eval(right, use, inner)
    {origin, leave(inner, state)}
  end

  defp eval({operator, _meta, [left, right]}, use, state) when operator in [:||, :or] do
    {first, state} = eval(left, use, state)
    {second, inner} = eval(right, use, left |> Guard.kind(state) |> Polarity.branch(left, false) |> guarded(state))
    {Origin.join(first, second), leave(inner, state)}
  end

  defp eval({:.., _meta, [first, last]}, _use, state) do
    {origins, state} = eval_list([first, last], state)
    many = if Enum.any?([first, last], &(is_integer(&1) and &1 > @many)), do: Origin.own(), else: Origin.fixed()
    {[many | origins] |> Origin.join_all() |> Origin.sized(), state}
  end

  defp eval({:|, _meta, [left, right]}, _use, state) do
    {[_head, tail], state} = eval_list([left, right], state)
    {tail, state}
  end

  defp eval({:"::", _meta, [value, _type]}, _use, state), do: eval(value, :used, state)
  defp eval({:<<>>, _meta, parts}, _use, state), do: eval_join(parts, state)
  defp eval({:{}, _meta, parts} = tuple, _use, state), do: literal(parts, spec(tuple, state))
  defp eval({:^, _meta, [value]}, _use, state), do: eval(value, :used, state)

  defp eval({:%{}, _meta, [{:|, _, [map, pairs]}]}, _use, state) when is_list(pairs) do
    {origin, state} = eval(map, :used, state)
    {other, state} = eval_join(Keyword.values(keys(pairs)), state)
    {Origin.mapped(origin, other), state}
  end

  defp eval({:%{}, _meta, pairs}, _use, state) when is_list(pairs) do
    state = spec({:%{}, [], pairs}, state)
    literal(Enum.flat_map(pairs, &pair/1), state)
  end

  defp eval({:%, _meta, [_name, map]}, use, state), do: eval(map, use, state)
  defp eval({:__aliases__, _meta, _parts}, _use, state), do: {Origin.fixed(), state}

  # A task's process tells nothing of its result. A reference may: a receive can wait for it.
  defp eval({{:., _dot, [{name, _, context} = subject, :pid]}, _meta, []}, _use, state)
       when is_atom(name) and is_atom(context) do
    {origin, _state} = eval(subject, :used, state)
    {Origin.part(origin), state}
  end

  # An attribute of a struct or a map.
  defp eval({{:., _dot, [subject, name]}, meta, []} = node, use, state) when is_atom(name) do
    if meta[:no_parens] && Scope.module(state.scope, subject) == nil do
      {origin, state} = eval(subject, :used, state)
      {if(Pattern.own_key?(name), do: Origin.own(), else: Origin.part(origin)), state}
    else
      remote(node, subject, name, [], meta, use, state)
    end
  end

  defp eval({{:., _dot, [Access, :get]}, _meta, [subject, key]}, _use, state) do
    {[origin, _key], state} = eval_list([subject, key], state)
    {Origin.part(origin), state}
  end

  defp eval({{:., _dot, [subject, name]}, meta, args} = node, use, state) when is_atom(name) and is_list(args) do
    remote(node, subject, name, args, meta, use, state)
  end

  # A call of an anonymous function.
  defp eval({{:., _dot, [function]}, _meta, args}, _use, state) when is_list(args) do
    {origins, state} = eval_list([function | args], state)
    {Origin.at_least_own(Origin.join_all(origins)), state}
  end

  defp eval({:__MODULE__, _meta, context}, _use, state) when is_atom(context), do: {Origin.fixed(), state}

  defp eval({name, _meta, context}, _use, state) when is_atom(name) and is_atom(context) do
    {Map.get(state.env, name, Origin.own()), read(name, state)}
  end

  defp eval({name, _meta, args}, _use, state) when name in @operators and is_list(args), do: eval_join(args, state)

  defp eval({:apply, meta, [module, name, args]} = node, use, state) when is_atom(name) and is_list(args) do
    applied(node, module, name, args, meta, use, state)
  end

  defp eval({name, meta, args} = node, use, state) when is_atom(name) and is_list(args) do
    if sigil?(name) do
      case args do
        [{:<<>>, _, parts} | _modifiers] ->
          parts |> eval_join(state) |> then(fn {origin, state} -> {Origin.limited(origin), state} end)

        _other ->
          {Origin.fixed(), state}
      end
    else
      mfa = Scope.local(state.scope, name, length(args), meta)
      if Query.macro?(mfa, args, state.scope), do: query(args, state), else: call(mfa, args, node, meta, use, state)
    end
  end

  defp eval({left, right} = tuple, _use, state), do: literal([left, right], spec(tuple, state))
  defp eval(list, _use, state) when is_list(list), do: list(list, state)
  defp eval({other, _meta, args}, _use, state) when is_list(args), do: eval_join([other | args], state)
  defp eval(_literal, _use, state), do: {Origin.fixed(), state}

  # `apply(Task, :start, [fun])` is that call.
  defp remote(node, subject, :apply, [module, name, args], meta, use, state)
       when subject in [Kernel, :erlang] and is_atom(name) and is_list(args) do
    applied(node, module, name, args, meta, use, state)
  end

  defp remote(node, subject, name, args, meta, use, state) do
    mfa = Scope.remote(state.scope, subject, name, length(args), meta)
    state = if Scope.module(state.scope, subject) == nil, do: subject |> eval(:used, state) |> elem(1), else: state
    if Query.macro?(mfa, args, state.scope), do: query(args, state), else: call(mfa, args, node, meta, use, state)
  end

  # The rest of a query is for the database.
  defp query(args, state) do
    {_origins, state} = args |> Query.run() |> eval_list(state)
    {Origin.own(), state}
  end

  defp applied(node, module, name, args, meta, use, state) do
    call({Scope.module(state.scope, module), name, length(args)}, args, node, meta, use, state)
  end

  # --- calls

  # Arguments come first, since the program computes them first; functions among them afterwards,
  # inside of the frame that the call puts around them.
  defp call(mfa, args, node, meta, use, state) do
    {origins, state} =
      Enum.map_reduce(args, state, fn arg, state ->
        if function?(arg), do: {Origin.fixed(), state}, else: eval(arg, :used, state)
      end)

    record = %Call{
      mfa: mfa,
      args: args,
      origins: origins,
      line: meta[:line] || 1,
      column: meta[:column],
      node: node,
      frames: state.frames,
      clause: state.clause,
      use: use,
      target: if(Known.spawner(mfa), do: args |> List.first() |> Target.supervisor(state)),
      child: if(Known.spawner(mfa) == :child, do: args |> List.last() |> Target.child(state))
    }

    state = state |> record(record) |> specs(mfa, args, meta)
    state = if Known.await?(mfa), do: await(state), else: state
    state = functions(mfa, args, origins, meta, use, state)
    state = targets(mfa, args, record, state)
    {Result.origin(mfa, args, origins, state), state}
  end

  defp record(state, call), do: %{state | calls: [call | state.calls]}

  defp functions(mfa, args, origins, meta, use, state) do
    if Enum.any?(args, &function?/1) do
      {inner, params, inner_use} = around(mfa, origins, meta, use, state)

      inner = if Known.loop(mfa), do: guarded(Guard.arguments(args, state), inner), else: inner

      inner =
        Enum.reduce(args, inner, fn arg, inner ->
          if(function?(arg), do: function(arg, params, inner_use, inner), else: inner)
        end)

      leave(inner, state)
    else
      state
    end
  end

  # The frame around the functions that a call gets, and the origins of their parameters.
  defp around({_module, name, _arity} = mfa, origins, meta, use, state) do
    cond do
      index = Known.loop(mfa) ->
        # A later step of the pipe may take a few of the elements.
        origin = if Result.endless?(name), do: Origin.own(), else: Enum.at(origins, index) || Origin.own()
        use = if use == :discarded or name in @discarding, do: :discarded, else: :used
        {push(:loop, {origin, mfa, meta[:line]}, state), [Origin.element(origin)], use}

      kind = Known.spawner(mfa) ->
        {push(:spawned, {mfa, meta[:line], meta[:column]}, state), [],
         if(Known.awaitable?(kind) and kind != :spawn, do: :used, else: :discarded)}

      Known.gate?(mfa) ->
        {push(:gate, mfa, state), [], use}

      true ->
        {state, [Origin.at_least_own(Origin.join_all(origins))], :used}
    end
  end

  defp function({:fn, _meta, clauses}, params, use, state), do: fun(clauses, params, use, state)
  defp function({:&, _meta, _args} = capture, params, use, state), do: capture(capture, params, use, state)

  defp fun(clauses, params, use, state) do
    Enum.reduce(clauses, state, fn
      {:->, _meta, [patterns, body]}, inner ->
        {patterns, guards} = patterns(patterns)
        %{env: env, scope: scope, targets: targets} = inner

        inner =
          patterns
          |> Enum.with_index()
          |> Enum.reduce(inner, fn {pattern, i}, inner -> bind(pattern, Enum.at(params, i, Origin.own()), inner) end)

        inner = Enum.reduce(guards, inner, fn guard, inner -> guard |> eval(:used, inner) |> elem(1) end)
        {_origin, inner} = eval(body, use, inner)
        %{inner | env: env, scope: scope, targets: targets}

      _other, inner ->
        inner
    end)
  end

  # `&name/1` and `&Module.name/1` are calls at the place where the function is passed on.
  defp capture({:&, meta, [{:/, _, [{name, name_meta, context}, arity]}]}, params, use, state)
       when is_atom(name) and is_atom(context) and is_integer(arity) do
    captured(Scope.local(state.scope, name, arity, name_meta), arity, name_meta ++ meta, params, use, state)
  end

  defp capture({:&, meta, [{:/, _, [{{:., _, [subject, name]}, name_meta, []}, arity]}]}, params, use, state)
       when is_integer(arity) do
    captured(Scope.remote(state.scope, subject, name, arity, name_meta), arity, name_meta ++ meta, params, use, state)
  end

  defp capture({:&, _meta, [body]}, params, use, state) do
    {_origin, inner} = eval(body, use, %{state | captures: params})
    %{inner | captures: state.captures, env: state.env}
  end

  defp capture(_other, _params, _use, state), do: state

  defp captured(mfa, arity, meta, params, use, state) do
    origins = Enum.map(0..(arity - 1)//1, &Enum.at(params, &1, Origin.own()))

    state = if Known.await?(mfa), do: await(state), else: state

    record(state, %Call{
      mfa: mfa,
      args: List.duplicate(nil, arity),
      origins: origins,
      line: meta[:line] || 1,
      column: meta[:column],
      node: {:&, [], [elem(mfa, 1)]},
      frames: state.frames,
      clause: state.clause,
      use: use,
      kind: :capture
    })
  end

  # `spawn(Module, :name, args)` calls that function, in a process of its own.
  defp targets(mfa, args, record, state) do
    with kind when kind != nil <- Known.spawner(mfa),
         {subject, name, list} when is_atom(name) and is_list(list) <- Target.function(mfa, args),
         module when module != nil <- Scope.module(state.scope, subject) do
      {_origins, state} = eval_list(list, state)
      frame = {state.next, :spawned, {mfa, record.line, record.column}}

      record(%{state | next: state.next + 1}, %{
        record
        | mfa: {module, name, length(list)},
          args: list,
          origins: list |> eval_list(state) |> elem(0),
          frames: [frame | state.frames],
          kind: :capture
      })
    else
      _none -> state
    end
  end

  defp specs(state, mfa, args, meta) do
    case Spec.of_call(mfa, args, meta, state.scope) do
      nil -> state
      spec -> %{state | specs: [spec | state.specs]}
    end
  end

  defp spec(expression, state) do
    case Spec.of_literal(expression, state.scope) do
      nil -> state
      spec -> %{state | specs: [spec | state.specs]}
    end
  end

  # --- helpers

  defp put(map, _name, nil), do: map
  defp put(map, name, value), do: Map.put(map, name, value)

  # A receive for a known reference or process waits for that one alone.
  defp pinned?(clauses) when is_list(clauses) do
    Enum.any?(clauses, fn
      {:->, _meta, [patterns, _body]} ->
        {_patterns, found?} =
          Macro.prewalk(patterns, false, fn node, found? -> {node, found? or match?({:^, _, [_]}, node)} end)

        found?

      _other ->
        false
    end)
  end

  defp pinned?(_none), do: false

  # `guard` gets the pattern of a clause and those before it, and returns the bound that they look at.
  defp clauses(clauses, origins, use, inner, outer, guard \\ fn _pattern, _earlier -> nil end) do
    {results, {inner, _earlier}} =
      Enum.map_reduce(clauses, {inner, []}, fn
        {:->, _meta, [patterns, body]}, {inner, earlier} ->
          {patterns, guards} = patterns(patterns)
          saved = inner
          pattern = List.first(patterns)

          inner =
            patterns
            |> Enum.zip(origins)
            |> Enum.reduce(inner, fn {pattern, origin}, inner -> bind(pattern, origin, inner) end)

          inner = Enum.reduce(guards, inner, fn guard, inner -> guard |> eval(:used, inner) |> elem(1) end)
          {origin, inner} = eval(body, use, pattern |> guard.(earlier) |> guarded(inner))
          {origin, {leave(inner, saved), [pattern | earlier]}}

        _other, acc ->
          {Origin.own(), acc}
      end)

    {Origin.join_all(results), leave(inner, outer)}
  end

  defp eval_list(expressions, state), do: Enum.map_reduce(expressions, state, &eval(&1, :used, &2))

  defp eval_join(expressions, state) when is_list(expressions) do
    {origins, state} = eval_list(expressions, state)
    {Origin.join_all(origins), state}
  end

  defp eval_args(args, _meta, state), do: eval_join(args, state)

  defp literal(parts, state) do
    {origins, state} = eval_list(parts, state)
    {Origin.literal(origins), state}
  end

  # `[head | tail]` has as many elements as its tail.
  defp list(list, state) do
    case List.last(list) do
      {:|, _meta, [_head, tail]} ->
        {origins, state} = eval_list(list, state)
        {tail_origin, state} = eval(tail, :used, state)
        {Origin.mapped(tail_origin, Origin.join_all(origins)), state}

      _last ->
        literal(list, state)
    end
  end

  defp pair({key, value}), do: [key, value]
  defp pair(other), do: [other]

  defp keys(pairs),
    do: Enum.filter(pairs, &match?({_key, _value}, &1)) |> Enum.map(fn {_key, value} -> {:value, value} end)

  defp split_blocks(args) do
    case List.last(args) do
      [{key, _} | _] = blocks when is_atom(key) -> {Enum.drop(args, -1), blocks} |> more_blocks()
      _none -> {args, []}
    end
  end

  # `for x <- xs, into: [] do` has its options and its block in two lists.
  defp more_blocks({args, blocks}) do
    case List.last(args) do
      [{key, _} | _] = opts when is_atom(key) -> {Enum.drop(args, -1), opts ++ blocks}
      _none -> {args, blocks}
    end
  end

  defp binary_generator(parts, state) do
    case List.last(parts) do
      {:<-, _meta, [_pattern, expression]} -> expression |> eval(:used, state) |> elem(0)
      _other -> Origin.own()
    end
  end

  defp pipe(left, right) do
    {:ok, Macro.pipe(left, right, 0)}
  rescue
    _error -> :error
  end

  defp function?({:fn, _meta, _clauses}), do: true
  defp function?({:&, _meta, [index]}) when is_integer(index), do: false
  defp function?({:&, _meta, _body}), do: true
  defp function?(_expression), do: false

  defp sigil?(name), do: name |> Atom.to_string() |> String.starts_with?("sigil_")
end
