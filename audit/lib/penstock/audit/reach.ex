defmodule Penstock.Audit.Reach do
  @moduledoc false
  # Finds how often a call runs, from the graph of calls of all modules, the functions that events reach,
  # the loops that they run in, and the level of each parameter.

  alias Penstock.Audit.{Components, Entries, Function, Known, Origin, Reach, Senders, Source, Spec}

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

  @outsider 3
  @partly 2
  # Longer chains of calls tell the reader of a finding nothing.
  @chain 10
  # Names of functions that start a server.
  @starts [:start, :start_link, :start_monitor]
  @callbacks [:handle_call, :handle_cast, :handle_info]
  # A supervisor calls these at a start.
  @never [:init, :child_spec]

  # How many servers a message may pass through on its way from an outsider's entry.
  @message_rounds 4

  # Through more modules than this a wait tells little of the tasks that it is for.
  @wait_rounds 3

  @doc "Returns the modules, where a function that calls one which waits does so itself."
  def prepare(modules) do
    modules =
      for module <- modules do
        %{module | functions: Map.new(module.functions, fn {key, function} -> {key, waiting(function, module)} end)}
      end

    Enum.reduce(1..@wait_rounds, Entries.restrict(modules), fn _round, modules -> wait_elsewhere(modules) end)
  end

  # A function of another module that waits, and creates nothing itself, waits for its callers' tasks.
  defp wait_elsewhere(modules) do
    functions = functions(modules)
    defaults = defaults(functions)

    waiters =
      for {mfa, {_module, function}} <- functions,
          function.awaits?,
          not Enum.any?(function.calls, &(Known.spawner(&1.mfa) != nil)),
          into: MapSet.new(),
          do: mfa

    waiter? = fn call, module ->
      mfa = project(call.mfa, module, functions, defaults)
      mfa != nil and elem(mfa, 0) != module.name and MapSet.member?(waiters, mfa)
    end

    for module <- modules do
      functions =
        Map.new(module.functions, fn {key, function} ->
          {key, function.calls |> Enum.filter(&waiter?.(&1, module)) |> Enum.reduce(function, &wait/2)}
        end)

      %{module | functions: functions}
    end
  end

  defp functions(modules) do
    for module <- modules,
        {_key, function} <- module.functions,
        into: %{},
        do: {Function.mfa(function), {module, function}}
  end

  @doc """
  Builds the reach of prepared `modules`.

  `project?` says whether the modules are all of a project. If such a project has entries of outsiders, it is
  closed: a function that none of its functions calls is not called, and a message that no function
  sends to a server on an outsider's behalf comes from the application itself.
  """
  def build(modules, project? \\ false) do
    functions = functions(modules)
    entries = entries(functions)
    closed? = project? and Enum.any?(entries, fn {_mfa, found} -> Enum.any?(Map.values(found), &Entries.outside?/1) end)

    reach = %Reach{
      modules: Map.new(modules, &{&1.name, &1}),
      functions: functions,
      entries: entries,
      closed?: closed?
    }

    reach = if closed?, do: %{reach | senders: Senders.index(modules)}, else: reach
    defaults = defaults(functions)
    edges = Map.new(functions, fn {mfa, {module, function}} -> {mfa, edges(module, function, functions, defaults)} end)

    callers =
      for {from, list} <- edges,
          {to, call} <- list,
          reduce: %{},
          do: (acc -> Map.update(acc, to, [{from, call}], &[{from, call} | &1]))

    reach = %{reach | edges: edges, callers: callers}

    reach = %{
      reach
      | loops: loops(reach),
        accepting: for({mfa, {_module, function}} <- functions, accepts?(function), into: MapSet.new(), do: mfa)
    }

    reach = %{reach | components: components(reach)}
    reach = %{reach | params: params(reach)}
    reach = active(reach, @message_rounds)
    %{reach | elements: elements(reach), specs: specs(modules)}
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
    for index <- indices(length(function.clauses)),
        entry = Entries.of(module, function, index),
        into: %{},
        do: {index, entry}
  end

  defp waiting(function, module) do
    waits =
      for %{mfa: {name, f, a}} = call <- function.calls,
          name == module.name,
          {f, a} != {function.name, function.arity},
          waits?(module.functions[{f, a}]),
          do: call

    Enum.reduce(waits, function, &wait/2)
  end

  # The places around a call that waits do so too.
  defp wait(call, function) do
    {inside, rest} = Enum.split_while(call.frames, fn {_id, kind, _data} -> kind != :spawned end)
    ids = for {id, _kind, _data} <- inside ++ Enum.take(rest, 1), do: id
    %{function | awaits: MapSet.union(function.awaits, MapSet.new(ids)), awaits?: function.awaits? or rest == []}
  end

  defp waits?(nil), do: false
  # A function that takes messages in a loop waits for no particular process.
  defp waits?(function),
    do: function.awaits? or (function.receives? and not Enum.any?(function.calls, &(&1.mfa == Function.mfa(function))))

  # A call with fewer arguments reaches the function whose parameters have defaults.
  defp defaults(functions) do
    for {{module, name, arity} = mfa, {_module, %{defaults: count}}} <- functions,
        count > 0,
        n <- (arity - count)..(arity - 1)//1,
        into: %{} do
      {{module, name, n}, mfa}
    end
  end

  defp edges(module, function, functions, defaults) do
    for call <- function.calls, mfa = project(call.mfa, module, functions, defaults), mfa != nil, do: {mfa, call}
  end

  defp project({nil, name, arity}, module, functions, defaults) do
    Enum.find_value(module.imports, fn imported -> project({imported, name, arity}, module, functions, defaults) end)
  end

  defp project(mfa, _module, functions, defaults) do
    cond do
      Map.has_key?(functions, mfa) -> mfa
      Map.has_key?(defaults, mfa) -> Map.fetch!(defaults, mfa)
      true -> nil
    end
  end

  # --- parameters

  # Levels only rise, and there are four, so the rounds end.
  defp params(reach) do
    initial = Map.new(reach.functions, fn {mfa, {module, function}} -> {mfa, initial(reach, mfa, module, function)} end)
    round(Map.keys(reach.functions), initial, reach)
  end

  defp initial(reach, {_module, _name, arity} = mfa, module, function) do
    level =
      cond do
        Entries.tool?(module) -> Origin.own_level()
        function.kind == :route -> Origin.outside_level()
        Entries.startup?(function) or function.impl? -> Origin.own_level()
        function.kind in [:defp, :defmacrop, :defmacro] -> Origin.fixed_level()
        Map.has_key?(reach.callers, mfa) and foreign_callers?(reach, mfa) -> Origin.fixed_level()
        reach.closed? -> Origin.own_level()
        true -> Origin.argument_level()
      end

    levels = Entries.levels(module, function)

    indices(arity)
    |> Map.new(fn index ->
      level = if levels, do: levels |> Enum.at(index, :own) |> Entries.level(), else: level
      {index, {level, level}}
    end)
  end

  # Functions that call each other count as called only if a function outside of their circle calls one.
  defp foreign_callers?(reach, mfa) do
    Enum.any?(Map.fetch!(reach.callers, mfa), fn {from, _call} -> reach.components[from] != reach.components[mfa] end)
  end

  defp round([], params, _reach), do: params

  defp round(queue, params, reach) do
    {params, changed} =
      Enum.reduce(queue, {params, MapSet.new()}, fn from, {params, changed} ->
        own = Map.fetch!(params, from)

        Enum.reduce(Map.fetch!(reach.edges, from), {params, changed}, fn {to, call}, {params, changed} ->
          before = Map.fetch!(params, to)
          raised = raise_levels(before, call, own)
          if raised == before, do: {params, changed}, else: {Map.put(params, to, raised), MapSet.put(changed, to)}
        end)
      end)

    round(MapSet.to_list(changed), params, reach)
  end

  # A limit in front of a call bounds how many elements its arguments have, and a list their values.
  defp raise_levels(levels, call, own) do
    limited? = Enum.any?(call.frames, &match?({_id, :guard, :limit}, &1))
    listed? = Enum.any?(call.frames, &match?({_id, :guard, :member}, &1))

    call.origins
    |> Enum.with_index()
    |> Enum.reduce(levels, fn {origin, index}, levels ->
      case levels do
        %{^index => {count, value}} ->
          Map.put(
            levels,
            index,
            {if(limited?, do: count, else: max(count, Origin.count_level(origin, own))),
             if(listed?, do: value, else: max(value, Origin.value_level(origin, own)))}
          )

        _fewer ->
          levels
      end
    end)
  end

  # --- events

  # The clauses of callbacks that take what an outsider makes a function send, until there are no more.
  defp active(reach, rounds) do
    reach = %{reach | events: events(reach)}

    active =
      for {mfa, found} <- if(reach.closed?, do: reach.entries, else: %{}),
          {index, entry} <- found,
          Entries.message?(entry),
          {module, function} = Map.fetch!(reach.functions, mfa),
          sent_outside?(reach, module, function, index),
          into: MapSet.new(),
          do: {mfa, index}

    if rounds == 0 or active == reach.active, do: reach, else: active(%{reach | active: active}, rounds - 1)
  end

  defp sent_outside?(reach, module, function, index) do
    reach.senders
    |> Senders.of(module, function, index)
    |> Enum.any?(fn {from, call} ->
      {sender, function} = Map.fetch!(reach.functions, from)

      not Entries.tool?(sender) and not waits?(function) and
        weaken(reached(reach, sender, function, call), %{call | frames: absent(call.frames)}) >= @outsider
    end)
  end

  # How strongly outsiders reach a call, without the conditions around it.
  defp reached(reach, module, function, call) do
    received = Enum.filter(call.frames, fn {_id, kind, _data} -> kind == :receive end)

    case local_event(reach, module, function, %{call | frames: received}) do
      {strength, _entry} -> strength
      nil -> reach.events |> Map.get(Function.mfa(function), {0}) |> elem(0)
    end
  end

  # From the strongest entries on, each function takes the first that reaches it.
  defp events(reach) do
    sources =
      for {mfa, {module, function}} <- reach.functions,
          function.kind == :route or Map.has_key?(reach.entries, mfa) or MapSet.member?(reach.loops, mfa),
          not Entries.tool?(module),
          {to, call} <- Map.fetch!(reach.edges, mfa) do
        with {strength, entry} <- local_event(reach, module, function, call),
             do: {strength, to, entry, [mfa]},
             else: (_none -> nil)
      end

    @outsider..@partly//-1
    |> Enum.reduce(%{}, fn strength, events ->
      start = for {^strength, to, entry, chain} <- sources, passes?(reach, to), do: {to, entry, chain}

      weakened =
        for {mfa, {s, entry, chain}} <- events,
            s > strength,
            {to, call} <- Map.fetch!(reach.edges, mfa),
            passes?(reach, to),
            weaken(s, call) == strength,
            do: {to, entry, [mfa | chain]}

      # In the order of names, so that a message names the same event each time.
      spread(Enum.sort(start ++ weakened), strength, events, reach)
    end)
  end

  # Functions that start a server are judged where they are called.
  # In a closed project the messages that are sent tell which clauses of a callback run, not a call of it.
  defp passes?(reach, {_module, name, _arity} = mfa) do
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

  defp spread([], _strength, events, _reach), do: events

  defp spread(queue, strength, events, reach) do
    {events, next} =
      Enum.reduce(queue, {events, []}, fn {mfa, entry, chain}, {events, next} ->
        if Map.has_key?(events, mfa) or length(chain) > @chain do
          {events, next}
        else
          onward =
            for {to, call} <- Map.fetch!(reach.edges, mfa),
                passes?(reach, to),
                weaken(strength, call) == strength,
                do: {to, entry, [mfa | chain]}

          {Map.put(events, mfa, {strength, entry, chain}), onward ++ next}
        end
      end)

    spread(next, strength, events, reach)
  end

  # Conditions around a call lower the strength of an event.
  defp weaken(strength, call), do: Enum.reduce(call.frames, strength, &weaken_by/2)

  defp weaken_by({_id, :gate, _mfa}, _strength), do: 0
  defp weaken_by({_id, :guard, :limit}, _strength), do: 0
  defp weaken_by({_id, :guard, :unset}, _strength), do: 0
  defp weaken_by({_id, :guard, :exists}, strength), do: min(strength, @partly)
  defp weaken_by(_frame, strength), do: strength

  # The event that a call in this very function runs for: the entry that its clause is, or the
  # message of a loop.
  defp local_event(reach, module, function, call) do
    entry = get_in(reach.entries, [Function.mfa(function), call.clause])

    cond do
      entry != nil -> entry |> strength(reach, function, module, call) |> label(entry, function)
      function.kind == :route -> {weaken(@outsider, call), {"a request", Function.mfa(function)}}
      loop?(reach, function, call) -> {weaken(@outsider, call), {"a message of its loop", Function.mfa(function)}}
      true -> nil
    end
    |> case do
      {0, _entry} -> nil
      other -> other
    end
  end

  defp strength({strength, _label, _levels} = entry, reach, function, module, call) do
    weak? = Entries.once?(function) or limited?(module) or inactive?(reach, entry, function, call)
    strength = if weak?, do: min(strength, @partly), else: strength
    strength |> min(sent(module, function, call.clause)) |> weaken(call)
  end

  defp inactive?(reach, entry, function, call),
    do:
      reach.closed? and Entries.message?(entry) and
        not MapSet.member?(reach.active, {Function.mfa(function), call.clause})

  # A server's own functions send it its calls and casts: conditions in front of all of these count.
  defp sent(module, %{name: name} = function, index) when name in [:handle_call, :handle_cast] do
    tag = function.clauses |> Enum.at(index) |> Map.fetch!(:params) |> List.first() |> Source.tag()

    senders =
      for {_key, %{calls: calls}} <- module.functions,
          %{mfa: {GenServer, sender, _arity}, args: [_server, message | _rest]} = call <- calls,
          "handle_#{sender}" == Atom.to_string(name),
          tag != nil and Source.tag(message) == tag,
          do: weaken(@outsider, %{call | frames: absent(call.frames)})

    Enum.max(senders, fn -> @outsider end)
  end

  defp sent(_module, _function, _index), do: @outsider

  defp label(strength, {_strength, label, _levels}, function), do: {strength, {label, Function.mfa(function)}}

  # A message about a thing that exists may come many times; one that makes it exist may not.
  defp absent([{_absent, :absent, _none}, guard | frames]), do: [guard | absent(frames)]
  defp absent([{_id, :guard, :exists}, {_branch, :branch, _none} | frames]), do: absent(frames)
  defp absent([frame | frames]), do: [frame | absent(frames)]
  defp absent([]), do: []

  # A plug that limits the rate stands in front of all actions.
  defp limited?(module) do
    Enum.any?(module.plugs, fn plug -> plug |> Macro.to_string() |> limit_text?() end)
  end

  defp limit_text?(text), do: text =~ ~r/^plug.{0,40}(rate|limit|throttl|Penstock)/i

  # A function that takes messages or connections, and calls itself again.
  defp loop?(reach, function, call) do
    mfa = Function.mfa(function)
    in_receive? = Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :receive end)
    (in_receive? or MapSet.member?(reach.accepting, mfa)) and MapSet.member?(reach.loops, mfa)
  end

  defp accepts?(function), do: Enum.any?(function.calls, &Known.accept?(&1.mfa))

  # Functions that call themselves, in one or two steps, as `loop` to `serve` and back.
  defp loops(reach) do
    direct =
      Map.new(reach.edges, fn {mfa, list} ->
        {mfa, for({to, call} <- list, not spawned?(call), into: MapSet.new(), do: to)}
      end)

    for {mfa, next} <- direct,
        MapSet.member?(next, mfa) or Enum.any?(next, &(direct |> Map.fetch!(&1) |> MapSet.member?(mfa))),
        into: MapSet.new(),
        do: mfa
  end

  defp spawned?(call), do: Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :spawned end)

  # --- elements

  # Which functions run once per element of a loop in one of their callers. With `:awaited` the
  # loops count whose body waits for what it starts; without it they do not.
  defp elements(reach) do
    for awaited <- [true, false], into: %{} do
      sources =
        for {mfa, {module, function}} <- reach.functions,
            not Entries.tool?(module),
            {to, call} <- Map.fetch!(reach.edges, mfa),
            to != mfa,
            passes?(reach, to) do
          case loop_level(reach, mfa, function, call, awaited) do
            {level, strength, loop} when level > 0 and strength > 0 -> {{level, strength}, to, {mfa, loop}}
            _none -> nil
          end
        end

      found =
        sources
        |> Enum.reject(&is_nil/1)
        |> Enum.sort(:desc)
        |> Enum.reduce(%{}, fn {rank, to, where}, found -> spread_element([{to, 0}], rank, where, found, reach) end)

      {awaited, found}
    end
  end

  defp spread_element([], _rank, _where, found, _reach), do: found

  defp spread_element([{mfa, depth} | rest], rank, where, found, reach) do
    if Map.has_key?(found, mfa) or depth > @chain do
      spread_element(rest, rank, where, found, reach)
    else
      onward =
        for {to, call} <- Map.fetch!(reach.edges, mfa),
            passes?(reach, to),
            weaken(@outsider, call) == @outsider,
            do: {to, depth + 1}

      spread_element(onward ++ rest, rank, where, Map.put(found, mfa, {rank, where}), reach)
    end
  end

  @doc """
  Returns `{level, strength, loop}` of the loops around a call in its own function. Loops whose body
  waits for the process count only if `all?`.
  """
  def loop_level(reach, mfa, function, call, all?) do
    params = Map.get(reach.params, mfa, %{})

    frames =
      if all?,
        do: call.frames,
        else: Enum.take_while(call.frames, fn {id, _kind, _data} -> not MapSet.member?(function.awaits, id) end)

    {level, strength, loop, _inner} =
      Enum.reduce(frames, {0, 0, nil, @outsider}, fn
        {_id, :loop, {origin, name, line}}, {level, strength, loop, inner} ->
          found = Origin.count_level(origin, params)
          if found > level, do: {found, inner, {name, line}, inner}, else: {level, strength, loop, inner}

        # A limit outside of the loop bounds the elements too; the other conditions do not.
        {_id, :guard, :limit}, {level, _strength, loop, _inner} ->
          {level, 0, loop, 0}

        {_id, :gate, _mfa}, {level, _strength, loop, _inner} ->
          {level, 0, loop, 0}

        frame, {level, strength, loop, inner} ->
          {level, strength, loop, weaken_by(frame, inner)}
      end)

    {level, strength, loop}
  end

  # --- what a rule asks

  @doc """
  Returns what decides how often a call runs, or nil if nothing unbounded does:
  `%{kind: :element | :event, severity: :high | :medium, because: text}`.

  `awaitable?` says whether the caller may wait for what the call starts.
  """
  def judge(%{reach: reach} = module, function, call, awaitable?) do
    awaitable? = awaitable? and not dropped?(function, call)

    if Entries.tool?(module),
      do: nil,
      else:
        worst(element(reach, function, call, awaitable?), fn -> event(reach, module, function, call, awaitable?) end)
  end

  # No code has the task, so none waits for it, unless a receive takes its message.
  defp dropped?(function, call), do: Known.task?(call.mfa) and call.use == :discarded and not function.receives?

  # An outsider's event counts for more than a loop over the application's own data.
  defp worst(nil, event), do: event.()
  defp worst(%{severity: :high} = element, _event), do: element

  defp worst(element, event) do
    case event.() do
      %{severity: :high} = event -> event
      _other -> element
    end
  end

  defp element(reach, function, call, awaitable?) do
    mfa = Function.mfa(function)

    case loop_level(reach, mfa, function, call, not awaitable?) do
      {level, strength, {name, line}} when level > 0 and strength > 0 ->
        %{
          kind: :element,
          severity: element_severity(reach, mfa, level, strength),
          because: "for each element of #{loop_text(name)} in line #{line}",
          level: level,
          through?: false
        }

      _none ->
        inherited(reach, mfa, function, call, awaitable?)
    end
  end

  defp inherited(reach, mfa, function, call, awaitable?) do
    waits? = awaitable? and synchronous?(reach, function, call)

    with false <- waits?,
         %{^mfa => {{level, strength}, {from, {name, line}}}} <- Map.fetch!(reach.elements, not awaitable?),
         strength when strength > 0 <- weaken(strength, call) do
      %{
        kind: :element,
        severity: element_severity(reach, mfa, level, strength),
        because: "for each element of #{loop_text(name)} in line #{line} of #{show(from)}",
        level: level,
        through?: true
      }
    else
      _none -> nil
    end
  end

  # In a closed project a message has many elements only if an outsider makes a function send it.
  defp element_severity(reach, mfa, level, @outsider) when level >= 2 do
    outside? = level >= Origin.outside_level() or not reach.closed?
    if outside? or outsiders?(reach, mfa), do: :high, else: :medium
  end

  defp element_severity(_reach, _mfa, _level, _strength), do: :medium

  defp outsiders?(reach, mfa) do
    match?(%{^mfa => {@outsider, _entry, _chain}}, reach.events) or
      Enum.any?(reach.active, fn {active, _index} -> active == mfa end)
  end

  defp event(reach, module, function, call, awaitable?) do
    mfa = Function.mfa(function)

    found =
      case local_event(reach, module, function, call) do
        nil ->
          with %{^mfa => {strength, entry, chain}} <- reach.events,
               strength when strength > 0 <- weaken(strength, call) do
            {strength, entry, chain}
          else
            _none -> nil
          end

        {strength, entry} ->
          {strength, entry, []}
      end

    with {strength, {label, entry}, chain} <- found,
         false <- awaitable? and (synchronous?(reach, function, call) or caller_waits?(reach, mfa, call, chain)) do
      %{
        kind: :event,
        severity: if(strength >= @outsider, do: :high, else: :medium),
        because: "for each #{bare(label)}" <> through(entry, chain, mfa),
        level: 0,
        entry: entry,
        through?: entry != mfa
      }
    else
      _none -> nil
    end
  end

  defp synchronous?(reach, function, call) do
    (not spawned?(call) and (function.awaits? or answered?(reach, function, call))) or
      Enum.any?(call.frames, fn {id, _kind, _data} -> MapSet.member?(function.awaits, id) end)
  end

  # A function that waits for a message outside of the loop in which it takes messages.
  defp answered?(reach, function, call) do
    function.receives? and not MapSet.member?(reach.accepting, Function.mfa(function)) and
      not Enum.any?(call.frames, fn {_id, kind, _data} -> kind == :receive end)
  end

  # A function that returns its tasks leaves the wait to its callers.
  defp caller_waits?(reach, mfa, call, chain) do
    direct = for {from, _call} <- Map.get(reach.callers, mfa, []), do: from
    task? = Known.spawner(call.mfa) in [:async, :async_child]

    task? and call.use != :discarded and
      Enum.any?(direct ++ chain, fn from -> reach.functions |> Map.fetch!(from) |> elem(1) |> Map.fetch!(:awaits?) end)
  end

  defp bare("a " <> label), do: label
  defp bare("an " <> label), do: label
  defp bare(label), do: label

  defp through(mfa, _chain, mfa), do: ""
  defp through(entry, chain, _mfa) when length(chain) <= 1, do: " in #{show(entry)}"

  defp through(entry, chain, _mfa),
    do: " in #{show(entry)}, through #{chain |> Enum.drop(-1) |> Enum.reverse() |> Enum.map_join(", ", &show/1)}"

  defp loop_text({nil, name, arity}), do: "the recursion of #{name}/#{arity}"
  defp loop_text({Kernel.SpecialForms, :for, _arity}), do: "the comprehension"
  defp loop_text({module, name, arity}), do: "#{inspect(module)}.#{name}/#{arity}"

  def show({module, name, arity}), do: "#{inspect(module)}.#{name}/#{arity}"

  @doc "Returns the level of a call's argument at `index`, as its value."
  def value_level(reach, function, call, index), do: level(reach, function, call, index, &Origin.value_level/2)

  @doc "Returns the level of the number of elements of a call's argument at `index`."
  def count_level(reach, function, call, index), do: level(reach, function, call, index, &Origin.count_level/2)

  defp level(reach, function, call, index, of) do
    case Enum.at(call.origins, index) do
      nil -> Origin.fixed_level()
      origin -> of.(origin, Map.get(reach.params, Function.mfa(function), %{}))
    end
  end

  # --- supervisors and recursion

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

  defp components(reach),
    do:
      Components.strong(
        Map.new(reach.edges, fn {mfa, list} -> {mfa, list |> Enum.map(&elem(&1, 0)) |> Enum.uniq()} end)
      )

  def indices(0), do: []
  def indices(arity), do: Enum.to_list(0..(arity - 1))
end
