defmodule Penstock.Process.PoolReport do
  # Reports on a pool and its holders. The native side reports on the holders in pages, so that no
  # native call is long.
  @moduledoc false

  alias Penstock.Native

  # The largest number of holders that `holders/1` returns.
  @most_holders 1_000

  @typedoc "A holder, the number of its permits, and the ms for which it has held permits."
  @type holder :: {pid, pos_integer, non_neg_integer}

  # Returns `{in_use, limit}`, without a walk through the holders; nil if there is no such pool.
  @spec usage(Native.gate()) :: {non_neg_integer, Native.limit()} | nil
  def usage(ref) do
    case Native.pool_info(ref) do
      :no_pool -> nil
      %{in_use: in_use, limit: limit} -> {in_use, limit}
    end
  end

  # Returns the state and the totals of a pool; nil if there is no such pool. `name` is nil for a
  # pool without a name.
  @spec info(Native.gate(), atom) :: map | nil
  def info(ref, name) do
    case Native.pool_info(ref) do
      :no_pool -> nil
      info -> figures(name, info, totals(ref, info.instance, 0, %{}))
    end
  end

  defp figures(name, %{limit: limit, in_use: in_use} = info, totals) do
    figures = %{
      name: name,
      status: info.status,
      owner: if(name, do: Native.gate_owner(name)),
      limit: limit,
      in_use: in_use,
      available: if(limit == :infinity, do: :infinity, else: max(limit - in_use, 0)),
      overdraft: if(limit == :infinity, do: 0, else: max(in_use - limit, 0)),
      waiting: info.waiting,
      max_waiting: info.max_waiting,
      holders: totals.holders,
      peak: info.peak,
      acquired: totals.acquired + info.granted,
      rejected: totals.rejected,
      timed_out: totals.timed_out,
      released_by_exit: totals.released_by_exit,
      killed: totals.killed
    }

    if info.held_longer_than == 0,
      do: figures,
      else: Map.put(figures, :held_longer_than, totals.held_longer_than)
  end

  defp totals(_ref, _instance, :done, sums), do: sums

  defp totals(ref, instance, position, sums) do
    {next, page} = Native.pool_report(ref, instance, position)
    totals(ref, instance, next, Map.merge(sums, page, fn _figure, a, b -> a + b end))
  end

  # Returns the holders that have held for longest, the longest first; nil if there is no such
  # pool.
  @spec holders(Native.gate()) :: [holder] | nil
  def holders(ref) do
    case Native.pool_info(ref) do
      :no_pool -> nil
      %{instance: instance} -> longest(ref, instance, 0, nil, 0, [], 0)
    end
  end

  # Returns all holders, in no order. With many of them, the list is large.
  @spec all_holders(Native.gate()) :: [holder]
  def all_holders(ref) do
    case Native.pool_info(ref) do
      :no_pool -> []
      %{instance: instance} -> pages(ref, instance, 0, nil)
    end
  end

  defp pages(_ref, _instance, :done, _now), do: []

  defp pages(ref, instance, position, now) do
    {next, now, page} = Native.pool_holders(ref, instance, position, now, 0, nil)
    page ++ pages(ref, instance, next, now)
  end

  # Walks through the pages of holders. Each time that `found` has reached twice @most_holders,
  # keeps the @most_holders that have held permits for longest. From then on, the native side
  # leaves out each holder that has held no longer than all of these. So the later pages have few
  # holders.
  defp longest(_ref, _instance, :done, _now, _at_least, found, _count), do: cut(found)

  defp longest(ref, instance, position, now, _at_least, found, count) when count >= 2 * @most_holders do
    found = cut(found)
    {_pid, _permits, shortest} = List.last(found)
    longest(ref, instance, position, now, shortest + 1, found, @most_holders)
  end

  defp longest(ref, instance, position, now, at_least, found, count) do
    {next, now, page} = Native.pool_holders(ref, instance, position, now, at_least, nil)
    longest(ref, instance, next, now, at_least, page ++ found, count + length(page))
  end

  defp cut(found), do: found |> Enum.sort_by(&elem(&1, 2), :desc) |> Enum.take(@most_holders)
end
