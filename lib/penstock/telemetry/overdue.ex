defmodule Penstock.Telemetry.Overdue do
  # Finds the holders of a pool that have become overdue since the last flush: they have held permits
  # for longer than the `:held_longer_than` of the pool.
  #
  # Nothing is kept about a holder. The native side says for how long it has held at the time of this
  # walk, and so also for how long it had held at the time of the last walk, by the same clock. If it
  # was not overdue then, it is told now. Each holder is overdue for the first time at one walk.
  #
  # The mark of a walk is its time, and the threshold that it used: `{now, threshold}`, in ms. A pool
  # that had no overdue holder at the last flush has no mark, and all of its overdue holders are new.
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
      # A holder is overdue when it has held for more than the threshold.
      walk({name, instance, threshold + 1}, 0, nil, mark, {[], 0})
    else
      _none -> {{[], 0}, nil}
    end
  end

  def find(_figures, _heard, mark), do: {{[], 0}, mark}

  defp walk({_name, _instance, at_least}, :done, now, _mark, found), do: {found, {now, at_least - 1}}

  defp walk({name, instance, at_least} = pool, position, now, mark, found) do
    case Native.pool_holders(name, instance, position, now, at_least) do
      {next, now, page} -> walk(pool, next, now, mark, Enum.reduce(page, found, &add(&1, &2, now, mark)))
      # The pool is gone.
      :badarg -> {found, mark}
    end
  end

  defp add({_pid, _permits, held_ms} = holder, {some, more}, now, mark) do
    cond do
      not new?(held_ms, now, mark) -> {some, more}
      length(some) < @most -> {[holder | some], more}
      true -> {some, more + 1}
    end
  end

  defp new?(_held_ms, _now, nil), do: true
  defp new?(held_ms, now, {last, threshold}), do: held_ms - Integer.mod(now - last, @wrap) <= threshold

  @spec tell(atom, found) :: :ok
  def tell(name, {some, more}) do
    for {pid, permits, held_ms} <- Enum.reverse(some) do
      measurements = %{count: 1, permits: permits, held_ms: held_ms}
      Emit.event(@event, measurements, %{gate: name, kind: :pool, pid: pid})
    end

    if more > 0, do: Emit.event(@event, %{count: more}, %{gate: name, kind: :pool, pid: nil})
    :ok
  end
end
