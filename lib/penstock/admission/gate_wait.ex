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
  alias Penstock.Telemetry.WaitEvent

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
    {collected, began} = collect(limits, kind, request, until(request.timeout), [], nil)
    told(concluded(collected, gate, limits, kind, request, finish), gate, limits, began)
  end

  defp concluded({:ok, held}, _gate, limits, kind, request, finish) do
    case finish.(limits) do
      :ok -> {:ok, set(held)}
      refusal -> give_back(held, kind, request, {:error, refusal})
    end
  end

  defp concluded({{:error, reason} = refused, held}, gate, _limits, kind, request, _finish) do
    count(gate, reason)
    give_back(held, kind, request, refused)
  end

  # Emits one event for the whole wait, if the caller was parked at one limit at least. The event
  # comes last, because a handler may take long.
  defp told(answer, _gate, _limits, nil), do: answer
  defp told(answer, gate, limits, began), do: WaitEvent.ended(answer, gate, event_kind(gate, limits), began)

  defp event_kind(gate, [{:keyed_pool, gate}]), do: :keyed_pool
  defp event_kind(_gate, _limits), do: :gate

  # Returns the limits for whose permits the gate makes a caller wait, in the order of waiting. A
  # keyed pool alone is its own only limit.
  @spec limits(atom) :: [limit]
  def limits(gate), do: with(:no_pool <- Native.gate_limits(gate), do: [{:keyed_pool, gate}])

  # Returns what the caller has got, and when it was first parked; nil if it was not.
  defp collect([], _kind, _request, _until, held, began), do: {{:ok, Enum.reverse(held)}, began}

  defp collect([{what, name} | limits], kind, request, until, held, began) do
    {answer, parked} =
      case acquire(what, name, kind, request, left(until)) do
        {:waited, parked, answer} -> {answer, parked}
        answer -> {answer, nil}
      end

    began = began || parked

    case part(answer, name, request.permits) do
      {:ok, part} -> collect(limits, kind, request, until, [part | held], began)
      {:error, _reason} = refused -> {{refused, held}, began}
      # The limit was there when the wait began.
      _gone -> {{{:error, :closed}, held}, began}
    end
  end

  # The wait returns the instance of the pool, by which manual permits are given back.
  defp acquire(:pool, name, :manual, %{permits: permits}, timeout), do: Wait.wait(name, :manual, permits, timeout)

  defp acquire(:pool, name, :bound, %{permits: permits}, timeout) do
    case Native.run_take(name, permits) do
      :busy -> Wait.wait(name, :bound, permits, timeout)
      gone when gone in [:no_pool, :badarg] -> :gone
      instance -> {:ok, instance}
    end
  end

  defp acquire(:keyed_pool, name, kind, %{permits: permits} = request, timeout) do
    with {:ok, key} <- key(request, name), do: KeyedWait.wait(name, key, kind, permits, timeout)
  end

  defp part({:ok, {pool, lease}}, name, permits), do: {:ok, {name, {pool, lease, permits}}}
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
