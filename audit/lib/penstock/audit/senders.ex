defmodule Penstock.Audit.Senders do
  @moduledoc false
  # Which calls of the project send the message that a clause of a server's callback takes.
  #
  # A message is known by its tag: an atom, the first atom or module of a tuple, the module of a
  # struct, or the event of a broadcast. A clause for any message is known by its server.

  alias Penstock.Audit.{Function, Source}

  @sends ~r/send|cast|call|broadcast|notify|publish|dispatch|emit|^handle_/
  # A process that waits for a time sends such a message to itself.
  @delayed [:send_after, :send_interval, :start_timer, :apply_after, :apply_interval]
  @servers [GenServer, :gen_server, :gen_statem, GenStateMachine, GenStage]
  @processes [Kernel, Process, :erlang]
  @kinds %{handle_call: [:call], handle_cast: [:cast, :abcast], handle_event: [:call, :cast]}
  @callbacks [:handle_call, :handle_cast, :handle_info]

  @doc "Returns `%{key => [{mfa, call}]}` of all calls that send a message, by its tag and by its server."
  def index(modules) do
    for module <- modules,
        {_key, function} <- module.functions,
        %{mfa: {_module, name, _arity}} = call <- function.calls,
        name not in @delayed and Atom.to_string(name) =~ @sends,
        key <- keys(call, module.name),
        reduce: %{},
        do: (index -> Map.update(index, key, [{Function.mfa(function), call}], &[{Function.mfa(function), call} | &1]))
  end

  defp keys(%{mfa: {module, _name, _arity}, args: [server, message | _opts]}, from) when module in @servers,
    do: [tag(message, from) || :any, {:to, name(server, from) || last(from)}]

  defp keys(%{mfa: {module, :send, _arity}, args: [server, message | _opts]}, from) when module in @processes,
    do: [tag(message, from), {:to, name(server, from) || last(from)}]

  defp keys(%{args: args}, from), do: for(arg <- args, tag = tag(arg, from) || event(arg), do: tag)

  defp tag(message, from), do: Source.tag(message) || map_event(message) || named(message, from)
  defp event(text), do: if(is_binary(text), do: text)

  # As `%{event: "moved"}` and `%Broadcast{event: "moved"}`.
  defp map_event({:%, _meta, [_struct, map]}), do: map_event(map)
  defp map_event({:=, _meta, [left, right]}), do: map_event(left) || map_event(right)

  defp map_event({:%{}, _meta, pairs}),
    do:
      Enum.find_value(pairs, fn pair -> with {:event, text} when is_binary(text) <- pair, do: text, else: (_ -> nil) end)

  defp map_event(_message), do: nil

  # As `{__MODULE__, saved}`, `{FormComponent, saved}` and `%Order{}`.
  defp named({:=, _meta, [left, right]}, from), do: named(left, from) || named(right, from)
  defp named({:%, _meta, [struct, _map]}, from), do: name(struct, from, :struct)
  defp named({:{}, _meta, [first | _]}, from), do: name(first, from, :first)
  defp named({first, _second}, from), do: name(first, from, :first)
  defp named(_message, _from), do: nil

  defp name(expression, from, kind), do: with(name when name != nil <- name(expression, from), do: {kind, name})

  # The last part of the name of a module that is in the text, or nil.
  defp name({:__MODULE__, _meta, _context}, from), do: last(from)
  defp name({:__aliases__, _meta, parts}, _from), do: List.last(parts)
  defp name(_expression, _from), do: nil

  @doc "Returns `[{mfa, call}]` of the calls that send what clause `index` of `function` takes."
  def of(senders, module, function, index) do
    case tag_of(function, index, module) do
      nil ->
        others = for other <- 0..(length(function.clauses) - 1)//1, do: tag_of(function, other, module)

        for key <- [:any, {:to, last(module.name)}],
            {{from, _name, _arity}, call} = sender <- Map.get(senders, key, []),
            sends?(call, from, module, function) and told(call, from) not in [:none | others -- [nil]],
            uniq: true,
            do: sender

      tag ->
        for {{from, _name, _arity}, call} = sender <- Map.get(senders, tag, []),
            sends?(call, from, module, function),
            do: sender
    end
  end

  defp tag_of(function, index, module), do: function |> message(index) |> tag(module.name)

  defp told(%{args: [_server, message | _opts]}, from), do: tag(message, from)
  defp told(_call, _from), do: :none

  # Callbacks of state machines have the kind of the event first.
  defp message(function, index) do
    params = function.clauses |> Enum.at(index) |> Map.fetch!(:params)
    if event?(function), do: Enum.at(params, 1), else: hd(params)
  end

  defp event?(%{arity: arity, name: name}),
    do: (arity == 4 and name == :handle_event) or (arity == 3 and name not in [:handle_call, :handle_out])

  defp sends?(%{mfa: {called, sends, _arity}, args: [server | _rest]}, from, module, function)
       when called in @servers do
    kinds = Map.get(@kinds, function.name)
    (kinds == nil or sends in kinds) and function.name != :handle_info and server?(server, from, module)
  end

  # A callback that is called directly takes its argument. A function of the server hands it on.
  defp sends?(%{mfa: {called, name, _arity}}, _from, %{name: called}, function),
    do: name not in @callbacks or name == function.name

  defp sends?(_call, _from, _module, function), do: function.name not in [:handle_call, :handle_cast]

  # A server that is not named in the text may be any.
  defp server?(server, from, module), do: name(server, from) in [nil, last(module.name)]

  defp last(name), do: name |> Atom.to_string() |> String.split(".") |> List.last() |> String.to_atom()
end
