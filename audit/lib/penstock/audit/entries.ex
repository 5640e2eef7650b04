defmodule Penstock.Audit.Entries do
  @moduledoc false
  # Which functions are entered per event from outside of their own process: by a request, a message
  # or a client's event.
  #
  # An entry is `{strength, label, levels}`. The strength is 3 if an outsider decides how often, 2 if
  # a queue, a timer or a library bounds it partly. `levels` are those of the parameters, by
  # `Penstock.Audit.Origin`.

  alias Penstock.Audit.{Module, Origin, Source}

  @outsider 3
  @partly 2

  # Name and arity of callbacks that no other use of the name makes likely.
  @servers %{
    {:handle_call, 3} => {"a call", [:message, :own, :own]},
    {:handle_cast, 2} => {"a cast", [:message, :own]},
    {:websocket_handle, 2} => {"a WebSocket frame", [:outside, :own]},
    {:websocket_info, 2} => {"a message", [:message, :own]},
    {:handle_in, 3} => {"a channel's event", [:outside, :outside, :own]},
    {:handle_out, 3} => {"a broadcast", [:message, :message, :own]},
    {:handle_in, 2} => {"a WebSocket frame", [:outside, :own]},
    {:handle_params, 3} => {"a LiveView's parameters", [:outside, :outside, :own]},
    {:handle_data, 3} => {"data of a connection", [:outside, :own, :own]},
    {:handle_connection, 2} => {"a connection", [:own, :own]}
  }

  @partly_bounded %{
    {:handle_message, 3} => {"a message of Broadway", [:own, :own, :own], [Broadway]},
    {:handle_batch, 4} => {"a batch of Broadway", [:own, :own, :own, :own], [Broadway]},
    {:handle_events, 3} => {"events of GenStage", [:own, :own, :own], [GenStage]},
    {:perform, 1} => {"a job", [:own], [Oban.Worker, Oban.Pro.Worker, Oban.Pro.Workers.Batch]}
  }

  # Callbacks of clients: the peer that they are connected to decides how often they run.
  @clients %{
    {:handle_frame, 2} => {"a frame of a peer", [:outside, :own], [WebSockex]},
    {:handle_message, 3} =>
      {"a message of a broker", [:outside, :outside, :own], [Tortoise.Handler, Tortoise311.Handler]},
    {:handle_event, 1} => {"an event of a chat", [:outside], [Nostrum.Consumer]}
  }

  @controllers [Phoenix.Controller, Plug.Conn, Plug.Builder, Plug.Router]
  @once [:mount, :join, :connect]
  @system_messages [:DOWN, :EXIT, :timeout, :nodeup, :nodedown, :"ETS-TRANSFER", :gun_up, :gun_down, :normal]

  # Which parts of the application administrators alone reach.
  @administrators ~r/(^|\.)(Admin|Back_?[Oo]ffice|SuperUser|Superuser|Staff(?!ing))|Admin(\.|Web|API|Live|Controller|$)/
  @administrators_path ~r{(^|[/_])(admin|back_?office|superuser|staff)[/_.]}

  @network [:tcp, :udp, :ssl, :sctp, :gun_data, :gun_ws, :gun_response, :http, :circuits_uart]

  @doc """
  Returns the modules, marked if administrators or developers alone reach them: by their name or file, or since
  routers serve them in no other scope.
  """
  def restrict(modules) do
    {restricted, open} =
      Enum.reduce(modules, {[], []}, fn %{routes: {restricted, open}}, {all_restricted, all_open} ->
        {restricted ++ all_restricted, open ++ all_open}
      end)

    restricted = MapSet.difference(MapSet.new(restricted), MapSet.new(open))
    for module <- modules, do: %{module | restricted?: restricted?(module) or MapSet.member?(restricted, module.name)}
  end

  defp restricted?(module) do
    Regex.match?(@administrators, inspect(module.name)) or Regex.match?(@administrators_path, module.file) or
      Module.is?(module, [Phoenix.LiveDashboard.PageBuilder])
  end

  @doc "Returns the entry that clause `index` of the function is, or nil."
  def of(%{restricted?: true} = module, function, index) do
    with {strength, label, levels} <- of(%{module | restricted?: false}, function, index),
         do: {min(strength, @partly), label, Enum.map(levels, &if(&1 == :outside, do: :message, else: &1))}
  end

  def of(module, function, index) do
    clause = Enum.at(function.clauses, index)
    key = {function.name, function.arity}

    cond do
      function.kind == :route ->
        {@outsider, "a request", [:outside, :own]}

      function.kind not in [:def] or clause == nil ->
        nil

      key == {:handle_info, 2} ->
        info(module, clause)

      key in Map.keys(@servers) ->
        server(Map.fetch!(@servers, key))

      client?(module, key) ->
        {label, levels, _modules} = Map.fetch!(@clients, key)
        {@outsider, label, levels}

      key in Map.keys(@partly_bounded) ->
        partly(Map.fetch!(@partly_bounded, key), module)

      key in [{:handle_event, 3}, {:handle_event, 4}, {:handle_event, 2}] ->
        event(module, function.arity, clause)

      key == {:join, 3} and channel?(module) ->
        {@outsider, "a join", [:outside, :outside, :own]}

      key == {:mount, 3} and live?(module) ->
        {@outsider, "a mount", [:outside, :own, :own]}

      key in [{:connect, 3}, {:connect, 2}] and socket?(module) ->
        {@outsider, "a connection of a socket", [:outside, :own, :own]}

      request?(module, function, clause) ->
        {@outsider, "a request", [:outside, second(module, function)]}

      key == {:init, 2} and Module.is?(module, [:cowboy_handler, :cowboy_rest, :cowboy_websocket]) ->
        {@outsider, "a request", [:outside, :own]}

      resolver?(module, function) ->
        {@outsider, "a query", Enum.take([:own, :outside, :own], -function.arity)}

      state_function?(module, function) ->
        {@partly, "an event", [:own, :message, :own]}

      true ->
        nil
    end
  end

  @doc "Returns whether the entry takes messages, which a function of the project may send."
  def message?({_strength, _label, levels}), do: :message in levels

  @doc "Returns whether outsiders enter by it without a message of the project."
  def outside?({strength, _label, levels}), do: strength == @outsider and :outside in levels

  @doc "Returns the levels of a function's parameters that follow from its entry, as a list, or nil."
  def levels(module, function) do
    found =
      for {_clause, index} <- Enum.with_index(function.clauses),
          {_strength, _label, levels} <- [of(module, function, index)],
          do: levels

    case found do
      [] -> nil
      # A parameter has the level of the clause in which it is the highest.
      lists -> lists |> Enum.zip() |> Enum.map(fn levels -> levels |> Tuple.to_list() |> Enum.max_by(&level/1) end)
    end
  end

  @doc "Returns whether the function runs once per process, so that what it starts is a fixed number for each."
  def once?(function), do: function.name in @once

  @doc "Returns whether a framework calls the function at a start, not per event."
  def startup?(function) do
    {function.name, function.arity} in [
      {:init, 1},
      {:start, 2},
      {:start_link, 1},
      {:start_link, 0},
      {:child_spec, 1},
      {:handle_continue, 2},
      {:terminate, 2},
      {:start_link, 2}
    ]
  end

  @doc "Returns whether the module is a tool of developers, which no outsider reaches."
  def tool?(module) do
    name = inspect(module.name)

    Module.is?(module, [Mix.Task, ExUnit.Case, ExUnit.CaseTemplate, Ecto.Migration, Igniter.Mix.Task]) or
      String.starts_with?(name, "Mix.Tasks.") or
      Regex.match?(~r/(^|\.)(Mock|Fake|Dummy|Stub)[A-Z.]|Mock$/, name) or
      Regex.match?(~r{(^|/)(test|priv/repo|bench|benchmarks?|[^/]*load_?test)/}, module.file)
  end

  defp server({label, levels}), do: {@outsider, label, levels}

  defp partly({label, levels, modules}, module),
    do: if(Module.is?(module, modules) or job?(module), do: {@partly, label, levels})

  defp client?(module, key) do
    case @clients do
      %{^key => {_label, _levels, modules}} -> Module.is?(module, modules)
      _none -> false
    end
  end

  defp job?(module), do: Enum.any?(module.uses, fn {used, _} -> used |> inspect() |> String.contains?("Worker") end)

  defp event(module, 4, clause) do
    if statem?(module),
      do: {statem_strength(clause), "an event", [:own, :message, :own, :own]},
      else: {@partly, "an event of telemetry", [:own, :own, :own, :own]}
  end

  defp event(_module, 3, _clause), do: {@outsider, "a client's event", [:outside, :outside, :own]}

  # Many modules have a function of this name for events that their own server passes on.
  defp event(module, 2, _clause),
    do: if(Module.is?(module, [:gen_event, GenEvent]), do: {@outsider, "an event", [:message, :own]})

  # A clause for one state runs once, if it goes to another state.
  # So does one for an event of its own, as a timer.
  defp statem_strength(%{params: [type, _content, state | _rest]}),
    do: if(state?(state) or own_type?(type), do: @partly, else: @outsider)

  defp own_type?({type, _name}), do: type == :timeout
  defp own_type?({:{}, _meta, [type | _]}), do: type == :timeout
  defp own_type?(type), do: type in [:internal, :enter, :state_timeout, :timeout]

  defp state?({:{}, _meta, [first | _]}), do: is_atom(first)
  defp state?({first, _second}), do: is_atom(first)
  defp state?({:=, _meta, [left, right]}), do: state?(left) or state?(right)
  defp state?(pattern), do: is_atom(pattern)

  # A clause for a message that the process sends to itself is a timer; one for the end of another
  # process comes at most once for each of these.
  defp info(module, clause) do
    message = List.first(clause.params)
    tag = Source.tag(message)

    cond do
      tag in @system_messages -> nil
      match?({{name, _, context}, _result} when is_atom(context) and name != :__MODULE__, message) -> nil
      tag != nil and MapSet.member?(module.schedules, tag) -> {@partly, "a message of its own timer", [:own, :own]}
      tag in @network -> {@outsider, "a message", [:outside, :own]}
      true -> {@outsider, "a message", [:message, :own]}
    end
  end

  defp channel?(module),
    do: Module.is?(module, [Phoenix.Channel]) or Module.uses_as?(module, [:channel]) or named?(module, "Channel")

  defp live?(module),
    do:
      Module.is?(module, [Phoenix.LiveView]) or Module.uses_as?(module, [:live_view]) or named?(module, "Live") or
        function?(module, :handle_event, 3) or function?(module, :render, 1)

  defp socket?(module), do: Module.is?(module, [Phoenix.Socket, Phoenix.Socket.Transport]) or named?(module, "Socket")
  defp statem?(module), do: Module.is?(module, [:gen_statem, GenStateMachine]) or function?(module, :callback_mode, 0)

  # A resolver of Absinthe gets a parent, arguments and the resolution, or the last two.
  defp resolver?(module, function) do
    function.arity in [2, 3] and not function.impl? and Enum.any?(["Resolver", "Resolvers"], &named?(module, &1)) and
      function.clauses |> hd() |> Map.fetch!(:params) |> List.last() |> resolution?()
  end

  defp resolution?({:%{}, _meta, pairs}), do: Keyword.keyword?(pairs) and Keyword.has_key?(pairs, :context)
  defp resolution?({:=, _meta, [left, right]}), do: resolution?(left) or resolution?(right)
  defp resolution?({:%, _meta, [{:__aliases__, _, parts}, _map]}), do: List.last(parts) == :Resolution
  defp resolution?({name, _meta, context}) when is_atom(context), do: name in [:info, :_info, :resolution, :_resolution]
  defp resolution?(_param), do: false

  defp state_function?(module, function) do
    statem?(module) and function.arity == 3 and function.kind == :def and
      not MapSet.member?(MapSet.new([:terminate, :code_change]), function.name)
  end

  # The second parameter of an action is what the client sent, that of a plug its options.
  defp second(module, function) do
    action? =
      Module.is?(module, [Phoenix.Controller]) or Module.uses_as?(module, [:controller]) or named?(module, "Controller")

    if action? and function.name != :call, do: :outside, else: :own
  end

  # Most functions of two parameters have no connection, which is found out soonest.
  defp request?(module, %{arity: 2} = function, clause) do
    conn? = conn?(List.first(clause.params))

    cond do
      function.name in [:render, :init, :view, :template, :child_spec, :handle_errors] -> false
      function.name == :call -> conn? or plug?(module)
      not conn? -> false
      # The other functions of a plug are its own helpers.
      function?(module, :call, 2) and Module.is?(module, [Plug]) -> false
      true -> plug?(module)
    end
  end

  defp request?(_module, _function, _clause), do: false

  defp plug?(module) do
    Module.is?(module, [Plug | @controllers]) or Module.uses_as?(module, [:controller, :plug, :router]) or
      Enum.any?(module.imports, &(&1 in @controllers)) or named?(module, "Controller")
  end

  defp conn?(param) do
    {_param, found?} =
      Macro.prewalk(param, false, fn
        {:__aliases__, _, parts} = node, found? -> {node, found? or List.last(parts) == :Conn}
        {name, _, context} = node, _found? when name in [:conn, :_conn] and is_atom(context) -> {node, true}
        node, found? -> {node, found?}
      end)

    found?
  end

  defp named?(module, suffix), do: module.name |> inspect() |> String.ends_with?(suffix)
  defp function?(module, name, arity), do: Map.has_key?(module.functions, {name, arity})

  @doc "Returns the level that an atom in `levels` stands for."
  def level(:outside), do: Origin.outside_level()
  def level(:message), do: Origin.argument_level()
  def level(:own), do: Origin.own_level()
end
