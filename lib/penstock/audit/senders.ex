defmodule Penstock.Audit.Senders do
  @moduledoc false
  # Which calls of the project send the message that a clause of a server's callback takes.
  #
  # A message is known by its tag: an atom, the first atom of a tuple, or the event of a broadcast.

  alias Penstock.Audit.{Function, Source}

  @sends ~r/send|cast|call|broadcast|notify|publish|dispatch|emit/
  # A process that waits for a time sends such a message to itself.
  @delayed [:send_after, :send_interval, :start_timer, :apply_after, :apply_interval]
  @servers [GenServer, :gen_server, :gen_statem, GenStateMachine, GenStage]
  @callbacks %{handle_call: [:call], handle_cast: [:cast, :abcast], handle_event: [:call, :cast]}

  @doc "Returns `%{tag => [{mfa, call}]}` of all calls that send a message."
  def index(modules) do
    for module <- modules,
        {_key, function} <- module.functions,
        %{mfa: {_module, name, _arity}} = call <- function.calls,
        name not in @delayed and Atom.to_string(name) =~ @sends,
        tag <- tags(call),
        reduce: %{},
        do: (index -> Map.update(index, tag, [{Function.mfa(function), call}], &[{Function.mfa(function), call} | &1]))
  end

  defp tags(%{mfa: {module, _name, _arity}, args: [_server, message | _opts]}) when module in @servers,
    do: [tag(message) || :any]

  defp tags(%{args: args}), do: for(arg <- args, tag = tag(arg) || event(arg), do: tag)

  defp tag(message), do: Source.tag(message) || map_event(message)
  defp event(text), do: if(is_binary(text), do: text)

  # As `%{event: "moved"}` and `%Broadcast{event: "moved"}`.
  defp map_event({:%, _meta, [_struct, map]}), do: map_event(map)
  defp map_event({:=, _meta, [left, right]}), do: map_event(left) || map_event(right)

  defp map_event({:%{}, _meta, pairs}),
    do:
      Enum.find_value(pairs, fn pair -> with {:event, text} when is_binary(text) <- pair, do: text, else: (_ -> nil) end)

  defp map_event(_message), do: nil

  @doc "Returns `[{mfa, call}]` of the calls that send what clause `index` of `function` takes."
  def of(senders, module, function, index) do
    message = function |> message(index) |> tag()

    senders
    |> Map.get(message || :any, [])
    |> Enum.filter(fn {{from, _name, _arity}, call} -> sends?(call, from, module, function, message) end)
  end

  # Callbacks of state machines have the kind of the event first.
  defp message(function, index) do
    params = function.clauses |> Enum.at(index) |> Map.fetch!(:params)
    if event?(function), do: Enum.at(params, 1), else: hd(params)
  end

  defp event?(%{arity: arity, name: name}),
    do: (arity == 4 and name == :handle_event) or (arity == 3 and name not in [:handle_call, :handle_out])

  defp sends?(%{mfa: {called, sends, _arity}, args: [server | _rest]}, from, module, function, _tag)
       when called in @servers do
    kinds = Map.get(@callbacks, function.name)
    (kinds == nil or sends in kinds) and function.name != :handle_info and server?(server, from, module)
  end

  # A message that is not told from others comes from the module itself.
  defp sends?(_call, from, module, _function, nil), do: from == module.name
  defp sends?(_call, _from, _module, function, _tag), do: function.name not in [:handle_call, :handle_cast]

  # A server that is not named in the text may be any.
  defp server?({:__MODULE__, _meta, _context}, from, module), do: from == module.name
  defp server?({:__aliases__, _meta, parts}, _from, module), do: List.last(parts) == last(module.name)
  defp server?(_server, _from, _module), do: true

  defp last(name), do: name |> Atom.to_string() |> String.split(".") |> List.last() |> String.to_atom()
end
