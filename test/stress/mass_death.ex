defmodule Penstock.Stress.MassDeath do
  # Kills many holders at once. Before the kills, the pool must list the holders that have held
  # permits for longest. After the kills, all permits must return.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.Survivors

  # `@listed` is the most holders that `Pool.holders/1` returns. `@coarse` is the error in ms that
  # the check allows in `held_ms` of a holder.
  @listed 1_000
  @coarse 20

  def run(count) do
    pool = Pool.new(limit: count)
    begin = now()
    oldest = for _ <- 1..@listed, do: holder(pool)
    begun = now()
    pids = oldest ++ for _ <- 1..(count - @listed)//1, do: holder(pool)
    {:error, :full} = Pool.try_acquire(pool)

    with :ok <- full(Pool.info(pool), count),
         asked = now(),
         :ok <- longest(Pool.holders(pool), pids, (asked - begun - @coarse)..(now() - begin + @coarse)) do
      for pid <- pids, do: Process.exit(pid, :kill)
      with :ok <- Survivors.until(fn -> gone(pool, count) end), do: {:ok, count}
    end
  end

  defp holder(pool) do
    {:ok, pid} = Penstock.spawn(pool, fn -> Process.sleep(:infinity) end)
    pid
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp full(info, count) do
    expected = %{
      in_use: count,
      available: 0,
      overdraft: 0,
      holders: count,
      waiting: 0,
      peak: count,
      acquired: count,
      rejected: 1,
      released_by_exit: 0
    }

    if Map.take(info, Map.keys(expected)) == expected, do: :ok, else: {:error, {:info, info}}
  end

  defp longest(holders, pids, ages) do
    pids = MapSet.new(pids)
    listed = Enum.map(holders, & &1.held_ms)

    cond do
      holders |> Enum.uniq_by(& &1.pid) |> length() != @listed -> {:error, {:listed, length(holders)}}
      not Enum.all?(holders, &(&1.permits == 1 and &1.pid in pids)) -> {:error, {:unknown_holders, holders}}
      listed != Enum.sort(listed, :desc) or not Enum.all?(listed, &(&1 in ages)) -> {:error, {:ages, listed, ages}}
      true -> :ok
    end
  end

  defp gone(pool, count) do
    with :ok <- Survivors.empty(pool) do
      released = Pool.info(pool).released_by_exit
      if Pool.holders(pool) == [] and released == count, do: :ok, else: {:error, {:not_gone, released}}
    end
  end
end
