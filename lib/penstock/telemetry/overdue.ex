defmodule Penstock.Telemetry.Overdue do
  # Finds the holders of a pool that have become overdue since the last flush: they have held permits
  # for longer than the `:held_longer_than` of the pool.
  #
  # Nothing is kept about a holder. Those that began to hold before some time were overdue at the last
  # walk: this time is the mark of that walk, by the clock of the native side. So a holder that is
  # overdue now, and that did not begin before the mark, is overdue for the first time. The native side
  # returns only these, since there may be very many old ones.
  #
  # A pool that had no overdue holder at the last flush has no mark, and all of its overdue holders are
  # new.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Telemetry.{Baselines, Emit, Figures}

  @event [:penstock, :holder, :overdue]

  # The most holders of a pool that are told one by one in a flush.
  @most 100

  # The clock of the native side wraps after this many ms, about 49 days.
  @wrap 0x1_0000_0000

  @typedoc "The holders to tell, and the number of further ones."
  @type found :: {[{pid, pos_integer, non_neg_integer}], non_neg_integer}

  # Returns whether a handler wants to hear of overdue holders.
  @spec heard?(Emit.heard()) :: boolean
  def heard?(heard), do: is_map_key(heard, @event)

  # Returns the new overdue holders of a pool, and the mark of this walk. Keeps the mark as it is if
  # no handler wants to hear of them.
  @spec find(Figures.t(), Emit.heard(), Baselines.mark()) :: {found, Baselines.mark()}
  def find(%{usage: %{overdue: overdue}, name: name}, heard, mark) when is_map_key(heard, @event) do
    with true <- overdue > 0, %{instance: instance, held_longer_than: threshold} <- Native.pool_info(name) do
      walk({name, instance, threshold}, 0, nil, mark, {[], 0})
    else
      _none -> {{[], 0}, nil}
    end
  end

  def find(_figures, _heard, mark), do: {{[], 0}, mark}

  defp walk({_name, _instance, threshold}, :done, now, _mark, found),
    do: {found, Integer.mod(now - threshold, @wrap)}

  defp walk({name, instance, threshold} = pool, position, now, mark, {some, more} = found) do
    # A holder is overdue when it has held for more than the threshold.
    case Native.pool_holders(name, instance, position, now, threshold + 1, mark) do
      {next, now, page} ->
        {told, counted} = Enum.split(page, @most - length(some))
        walk(pool, next, now, mark, {some ++ told, more + length(counted)})

      # The pool is gone.
      :badarg ->
        {found, mark}
    end
  end

  @spec tell(atom, found) :: :ok
  def tell(name, {some, more}) do
    for {pid, permits, held_ms} <- some do
      measurements = %{count: 1, permits: permits, held_ms: held_ms}
      Emit.event(@event, measurements, %{gate: name, kind: :pool, pid: pid})
    end

    if more > 0, do: Emit.event(@event, %{count: more}, %{gate: name, kind: :pool, pid: nil})
    :ok
  end
end
