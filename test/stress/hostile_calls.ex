defmodule Penstock.Stress.HostileCalls do
  # Calls the documented functions of Penstock, and its native functions, with random arguments.
  @moduledoc false

  alias Penstock.{Mailbox, Native}
  alias Penstock.Node.Janitor
  alias Penstock.Node.Reaper
  alias Penstock.Stress.{HostileFindings, HostileShapes, HostileTerms}

  # The first prints, and apart from that only calls list/0. The second raises without a dependency.
  # Plug calls the others, with what their `init/1` returned.
  @left_out [{Penstock, :table, 0}, {Penstock.Telemetry, :metrics, 0}] ++
              [{Penstock.Plug, :call, 2}, {Penstock.Plug.Limit, :call, 2}]

  @doc "Returns the functions, except those named in `skip`, and counters of accepted calls."
  def all(skip) do
    native = for {name, arity} <- Native.__info__(:functions), name != :load, do: {Native, name, arity}
    {:ok, modules} = :application.get_key(:penstock, :modules)
    all = Enum.sort(native ++ Enum.flat_map(modules, &documented/1)) -- @left_out
    calls = List.to_tuple(Enum.reject(all, fn {_module, name, _arity} -> Atom.to_string(name) in skip end))
    {calls, :counters.new(tuple_size(calls), [])}
  end

  # Returns the documented functions of a module. A function with default arguments has several
  # arities.
  defp documented(module) do
    with "Elixir.Penstock" <> _ <- Atom.to_string(module),
         {:docs_v1, _, _, _, %{}, _, docs} <- Code.fetch_docs(module) do
      for {{:function, name, arity}, _, _, %{}, meta} <- docs, n <- (arity - Map.get(meta, :defaults, 0))..arity do
        {module, name, n}
      end
    else
      _hidden -> []
    end
  end

  @doc "Makes one call and ignores its outcome. Returns the call."
  def one({calls, accepted}) do
    index = :rand.uniform(tuple_size(calls))
    {module, name, arity} = call = elem(calls, index - 1)
    args = arguments(call, args(HostileShapes.of(call), arity))

    try do
      result = consume(name, apply(module, name, args))
      unless result in [:badarg, :no_pool, :no_limiter, :no_ban], do: :counters.add(accepted, index, 1)
      HostileTerms.keep(result)
    catch
      kind, reason -> HostileFindings.call(kind, reason, __STACKTRACE__, {module, name, args})
    after
      register_again(name)
    end

    call
  end

  # Draws the arguments of a call. If valid arguments are known, half of the calls get those, with
  # one argument in eight replaced by a random one.
  defp args(nil, arity), do: for(n <- 1..arity//1, do: HostileTerms.argument(n, arity))

  defp args(shape, arity) do
    if :rand.uniform(2) == 1 do
      args(nil, arity)
    else
      for {valid, n} <- Enum.with_index(shape, 1) do
        if :rand.uniform(8) == 1, do: HostileTerms.argument(n, arity), else: valid
      end
    end
  end

  @doc "Returns the functions of which no call was accepted: each call raised, or was invalid."
  def never_accepted({calls, accepted}) do
    for {call, index} <- Enum.with_index(Tuple.to_list(calls), 1), :counters.get(accepted, index) == 0, do: call
  end

  # These native functions trust that their last argument is the caller's pid. With the pid of
  # another living process, they would acquire or release for that process. So the last argument
  # becomes the caller's pid.
  defp arguments({Native, name, arity}, args)
       when name in [:pool_try_one, :pool_release_one, :run_take_one, :run_end_one, :mailbox_taken, :mailbox_taken_call],
       do: List.replace_at(args, arity - 1, self())

  # Reduces sizes, because a table for more than 100,000 keys could reserve gigabytes, and would
  # exercise no further code.
  defp arguments({Native, name, _arity}, args) when name in [:rate_start, :ban_start] do
    Enum.map(args, fn
      n when is_integer(n) and n > 100_000 and n < 0x1000000000000 -> 1_000
      other -> other
    end)
  end

  # The supervisor ends with the given reason, and the VM copies that reason to each linked
  # process without a pause. So `:normal` replaces a heavy reason.
  defp arguments({_module, :stop, _arity}, [supervisor | rest]) do
    [supervisor | Enum.map(rest, &light(&1, :normal))]
  end

  # The VM copies a message, as it does for `send/2`, without a pause. So light messages replace heavy
  # ones.
  defp arguments({Mailbox, _name, _arity}, args), do: Enum.map(args, &light(&1, :light))

  defp arguments({Native, name, _arity}, args) when name in [:mailbox_send, :mailbox_ask, :mailbox_park],
    do: Enum.map(args, &light(&1, :light))

  # `:measured` promises the native side that the caller has walked through the key and found it
  # light. So `:measured` is replaced in a call with a heavy term.
  defp arguments({Native, _name, _arity}, args) do
    if :measured in args and not Enum.all?(args, &light?/1),
      do: Enum.map(args, &if(&1 == :measured, do: :not_measured, else: &1)),
      else: args
  end

  # The VM copies arguments to the process that starts with them. It also copies that process's
  # exit reason, which may hold the arguments, to each linked process. So `[1]` replaces heavy
  # arguments.
  defp arguments(_call, [gate, module, function, args | rest])
       when is_atom(module) and is_atom(function) and is_list(args),
       do: [gate, module, function, light(args, [1]) | rest]

  defp arguments(_call, [gate, elements, module, function, args | rest])
       when is_atom(module) and is_atom(function) and is_list(args),
       do: [gate, elements, module, function, light(args, [1]) | rest]

  defp arguments(_call, args), do: args

  defp light(term, other), do: if(light?(term), do: term, else: other)
  defp light?(term), do: Penstock.Options.Weight.light?(term, 1_024)

  # A stream does nothing until a consumer asks for elements.
  defp consume(name, stream) when name in [:async_stream, :async_stream_nolink], do: Enum.take(stream, 5)
  defp consume(_name, result), do: result

  # The native side knows one janitor and one reaper. The call has registered the caller in the
  # place of the true one. So this makes the true one register again.
  defp register_again(:janitor_register), do: register_again(Janitor, &Native.janitor_register/0)
  defp register_again(:reaper_register), do: register_again(Reaper, &Native.reaper_register/0)
  defp register_again(_name), do: :ok

  defp register_again(server, register) do
    :sys.replace_state(server, fn state ->
      :ok = register.()
      state
    end)
  catch
    :exit, _busy -> :ok
  end
end
