defmodule Penstock.Admission.GateWait do
  # Waits for the permits of all limits of a gate. Runs in the caller.
  #
  # The caller waits for one limit after the other, and holds meanwhile what it has got. All callers
  # of the VM wait in one order: keyed pools, then pools, each in the order of their names in the
  # VM. So two callers never wait for each other. When the caller has all permits, the native side
  # charges the limiters. If that fails, all permits go back, to the next waiters.
  @moduledoc false

  alias Penstock.Admission.{KeyedWait, Wait}
  alias Penstock.Native

  # The numbers by which the native side counts the outcomes of waits.
  @queue_full 7
  @timeout 8
  @outcomes %{key_full: 4, table_full: 5, full: 6, queue_full: @queue_full, timeout: @timeout, closed: 9, deadlock: 10}

  @typedoc "How the permits are held: bound to work in the caller, or manually."
  @type kind :: :bound | :manual
  @typedoc "A limit with permits."
  @type limit :: {:keyed_pool | :pool, atom}

  # Waits for the permits of each limit, and then calls `finish` with these limits. It takes the last
  # step, and returns `:ok` or a refusal. Returns the permit set.
  @spec wait(atom, kind, Penstock.Admission.Request.t(), ([limit] -> :ok | term)) ::
          {:ok, Native.set()} | {:error, term}
  def wait(gate, kind, request, finish) do
    limits = limits(gate)

    case collect(limits, kind, request, until(request.timeout), []) do
      {:ok, held} ->
        case finish.(limits) do
          :ok -> {:ok, set(held)}
          refusal -> give_back(held, kind, request, {:error, refusal})
        end

      {{:error, reason} = refused, held} ->
        count(gate, reason)
        give_back(held, kind, request, refused)
    end
  end

  # Returns the limits for whose permits the gate makes a caller wait, in the order of waiting. A
  # keyed pool alone is its own only limit.
  @spec limits(atom) :: [limit]
  def limits(gate), do: with(:no_pool <- Native.gate_limits(gate), do: [{:keyed_pool, gate}])

  defp collect([], _kind, _request, _until, held), do: {:ok, Enum.reverse(held)}

  defp collect([{what, name} | limits], kind, request, until, held) do
    case acquire(what, name, kind, request, left(until)) do
      {:ok, part} -> collect(limits, kind, request, until, [part | held])
      {:error, _reason} = refused -> {refused, held}
      # The limit was there when the wait began.
      _gone -> {{:error, :closed}, held}
    end
  end

  # The wait returns the instance of the pool, by which manual permits are given back.
  defp acquire(:pool, name, :manual, %{permits: permits}, timeout),
    do: part(Wait.park(name, :manual, permits, timeout), name, permits)

  defp acquire(:pool, name, :bound, %{permits: permits}, timeout) do
    case Native.run_take(name, permits) do
      :busy -> part(Wait.park(name, :bound, permits, timeout), name, permits)
      gone when gone in [:no_pool, :badarg] -> :gone
      instance -> part({:ok, instance}, name, permits)
    end
  end

  defp acquire(:keyed_pool, name, kind, %{permits: permits} = request, timeout) do
    with {:ok, key} <- key(request, name),
         {:ok, {pool, lease}} <- KeyedWait.park(name, key, kind, permits, timeout),
         do: {:ok, {name, {pool, lease, permits}}}
  end

  defp part({:ok, instance}, name, permits), do: {:ok, {name, {name, instance, permits}}}
  defp part(other, _name, _permits), do: other

  # Counts a request whose wait ended with this reason. The native side has counted the others.
  @spec count(atom, term) :: term
  def count(gate, reason),
    do: with(outcome when outcome != nil <- @outcomes[reason], do: Native.gate_count(gate, outcome))

  # Returns the key of a limit. The native side has found before that the request has one, unless the
  # name of the limit, or of the gate, stands for another limit by now.
  @spec key(Penstock.Admission.Request.t(), atom) :: {:ok, term} | :none
  def key(%{keys: keys, key: key}, name) do
    case {keys, key} do
      {%{^name => key}, _key} -> {:ok, key}
      {_keys, {:key, key}} -> {:ok, key}
      {_keys, :none} -> :none
    end
  end

  defp set(held), do: for({_name, part} <- held, do: part)

  defp give_back([], _kind, _request, refused), do: refused

  defp give_back(held, :bound, _request, refused) do
    Native.run_end(nil, set(held), 1)
    refused
  end

  defp give_back(held, :manual, request, refused) do
    for {name, {of, held, permits}} <- held do
      if is_integer(of) do
        {:ok, key} = key(request, name)
        Native.keyed_release(name, key, permits, :measured)
      else
        Native.pool_release(name, held, permits)
      end
    end

    refused
  end

  defp until(:infinity), do: :infinity
  defp until(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp left(:infinity), do: :infinity
  defp left(until), do: max(until - System.monotonic_time(:millisecond), 0)
end
