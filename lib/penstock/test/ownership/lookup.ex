defmodule Penstock.Test.Ownership.Lookup do
  # Finds the gate that a test owns in place of one of the application. Runs in each process that
  # calls Penstock with the name of a gate, if `Penstock.Test.Ownership.Seam` is on.
  #
  # The names are in an ETS table, which `Penstock.Test.Ownership.Server` writes:
  #
  #     {name, [{own, who}]}   a gate of the application that a test owns, and the processes that are
  #                            allowed to use an own one, but are not known by a pid
  #     {{name, pid}, own}     the own gate that `pid` asks in place of `name`: its owner, or a
  #                            process that is allowed to, and those that it has caused
  #     {{:own, own}, gate}    an own gate: see `t:gate/0`
  #     {{:owner, pid}, [own]} all own gates of an owner
  #
  # A gate of the application that no test owns costs one read of the table.
  @moduledoc false

  alias Penstock.Test.Ownership.Chain

  @table __MODULE__

  @typedoc """
  `limits` has the own limits of a gate of several limits, by the names that the application knows.
  `clock` is `:manual` if the test moves it.
  """
  @type gate :: %{name: atom, owner: pid, kind: atom, clock: :manual | :monotonic, limits: %{atom => atom}}
  @typedoc "A process that is allowed to use an own gate, and may be started later or again."
  @type who :: atom | {:via, module, term} | {:global, term} | Penstock.work(term)

  # Creates the table. The server owns it, so no ownership outlives the server.
  @spec create() :: :ok
  def create do
    :ets.new(@table, [:named_table, :protected, :set, read_concurrency: true])
    :ok
  end

  @spec put(term, term) :: true
  def put(key, value), do: :ets.insert(@table, {key, value})

  @spec delete(term) :: true
  def delete(key), do: :ets.delete(@table, key)

  # Deletes all rows of an own gate: those of its owner and of the processes that are allowed to.
  @spec delete_own(atom) :: true
  def delete_own(own) do
    :ets.match_delete(@table, {:_, own})
    :ets.delete(@table, {:own, own})
  end

  # Returns the value of a key; nil if it has none, or if the application `:penstock` is not
  # running.
  @spec get(term) :: term
  def get(key) do
    case :ets.lookup(@table, key) do
      [{_key, value}] -> value
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  # Returns the gate to ask in place of `gate`: the own gate of the test on whose behalf the
  # calling process works, or `gate` itself.
  @spec gate(term) :: term
  def gate(name) when is_atom(name) do
    with waiting when waiting != nil <- get(name),
         own when own != nil <- Chain.find(&get({name, &1})) || named_later(waiting) do
      own
    else
      nil -> name
    end
  end

  def gate(no_name), do: no_name

  # The function of an `allow/2` may itself ask a gate, which must not call it again.
  @asking :penstock_asks_whom_a_test_allows

  defp named_later([]), do: nil

  defp named_later(waiting) do
    if Process.put(@asking, true) == nil do
      try do
        chain = Chain.all()
        Enum.find_value(waiting, fn {own, who} -> if pid(who) in chain, do: own end)
      after
        Process.delete(@asking)
      end
    end
  end

  # A function, or a module that registers names, may ask a process that has ended with its test.
  # The calling process may be that of another test, and must not notice.
  defp pid(who) do
    whereis(if is_function(who, 0), do: who.(), else: who)
  catch
    _kind, _reason -> nil
  end

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(nil), do: nil
  defp whereis(name), do: GenServer.whereis(name)

  @spec gates(term) :: term
  def gates([first | rest]), do: [gate(first) | gates(rest)]
  def gates(end_or_no_list), do: end_or_no_list

  # Replaces the gate in the arguments of a function, and the names of limits in its option
  # `:keys`.
  @spec args([term]) :: [term]
  def args([gate | rest] = args) do
    case gate(gate) do
      ^gate -> args
      own -> [own | List.update_at(rest, -1, &options(&1, own))]
    end
  end

  defp options([{_option, _value} | _] = options, own) do
    if Keyword.keyword?(options), do: Enum.map(options, &option(&1, own)), else: options
  end

  defp options(other, _own), do: other

  defp option({:keys, keys}, own), do: {:keys, keys(keys, own)}
  defp option(option, _own), do: option

  # Replaces the limiters of a list of hits.
  @spec hits([term]) :: [term]
  def hits([hits]), do: [each_hit(hits)]

  defp each_hit([{limiter, key, cost} | rest]), do: [{gate(limiter), key, cost} | each_hit(rest)]
  defp each_hit([hit | rest]), do: [hit | each_hit(rest)]
  defp each_hit(end_or_no_list), do: end_or_no_list

  @spec asked(term, map) :: {term, map}
  def asked(gate, request) do
    case gate(gate) do
      ^gate -> {gate, request}
      own -> {own, %{request | keys: keys(request.keys, own)}}
    end
  end

  @spec gated(map) :: map
  def gated(%{gate: gate} = gated) do
    {gate, gated} = asked(gate, gated)
    %{gated | gate: gate}
  end

  # The group of a supervisor also has the native reference of its gate, which is its name.
  @spec group(map) :: map
  def group(%{gate: gate} = group) do
    case gate(gate) do
      ^gate -> group
      own -> %{group | gate: own, ref: own}
    end
  end

  # Names the keys of single limits as the limits of an own gate are named. A name that is none of
  # its limits stays, so that the error names it.
  defp keys(keys, own) when is_map(keys) and not is_struct(keys) and keys != %{} do
    %{limits: limits} = get({:own, own}) || %{limits: %{}}
    Map.new(keys, fn {name, key} -> {Map.get(limits, name, name), key} end)
  end

  defp keys(other, _own), do: other

  # Returns the name by which the application knows a gate. Any other term is returned unchanged.
  @spec public(term) :: term
  def public(own) when is_atom(own) do
    case get({:own, own}) do
      %{name: name} -> name
      nil -> own
    end
  end

  def public(no_name), do: no_name

  # Returns the result of a function with the names that the application knows.
  @spec shown(term) :: term
  def shown(%{name: name, limits: limits} = info), do: %{info | name: public(name), limits: Enum.map(limits, &public/1)}
  def shown(%{name: name} = info), do: %{info | name: public(name)}

  def shown(answers) when is_list(answers),
    do: Enum.map(answers, fn %{limit: limit} = answer -> %{answer | limit: public(limit)} end)

  def shown({:deny, limiter, ms}), do: {:deny, public(limiter), ms}
  def shown(other), do: other
end
