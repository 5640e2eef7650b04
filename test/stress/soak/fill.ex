defmodule Penstock.Stress.Soak.Fill do
  # Fills a pool, or a key of a keyed pool, that no other process uses. It must admit exactly its limit,
  # refuse the next request, wake a waiter, take back the permit of a dead holder, and count all of this.
  # So no permit is lost where no report shows it, and no total is wrong.
  @moduledoc false

  alias Penstock.{KeyedPool, Pool}
  alias Penstock.Stress.Survivors

  @key "a key of the soak"
  # In ms. A busy machine may give the VM little time.
  @patience 60_000

  # A process that the storm has left may still ask once, which changes the totals. So a fill that went
  # wrong is tried again.
  def pool(pool) do
    check(pool, :full, %{
      info: fn -> Pool.info(pool) end,
      acquire: &Pool.acquire(pool, timeout: &1),
      try: fn -> Pool.try_acquire(pool) end,
      release: fn -> Pool.release(pool) end
    })
  end

  def keyed(pool) do
    check(pool, :key_full, %{
      info: fn -> KeyedPool.info(pool) end,
      acquire: &KeyedPool.acquire(pool, @key, timeout: &1),
      try: fn -> KeyedPool.try_acquire(pool, @key) end,
      release: fn -> KeyedPool.release(pool, @key) end
    })
  end

  defp check(pool, full, calls) do
    Survivors.until(fn ->
      with {:error, problem} <- fill(full, calls) do
        release_all(calls)
        {:error, {:fill, pool, problem}}
      end
    end)
  end

  defp fill(full, calls) do
    before = calls.info.()
    answers = for _ <- 0..before.limit, do: calls.try.()

    with :ok <- same(:answers, answers, List.duplicate(:ok, before.limit) ++ [{:error, full}]),
         :ok <- same(:late, answer(waiter(calls, 1)), {:error, :timeout}),
         :ok <- wait(calls),
         :ok <- same(:released, release(calls, before.limit - 1), List.duplicate(:ok, before.limit - 1)) do
      Survivors.until(fn -> totals(before, calls.info.()) end)
    end
  end

  # A waiter gets the permit that this process gives back, and dies with it.
  defp wait(calls) do
    waiter = waiter(calls, @patience)
    waiting = Survivors.until(fn -> same(:waiting, calls.info.().waiting, 1) end)
    calls.release.()
    answer = answer(waiter)
    with :ok <- waiting, do: same(:waiter, answer, :ok)
  end

  # The holder of all permits itself would wait for itself.
  defp waiter(calls, ms), do: spawn_monitor(fn -> exit({:answer, calls.acquire.(ms)}) end)

  defp answer({pid, monitor}) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, {:answer, answer}} -> answer
      {:DOWN, ^monitor, :process, ^pid, reason} -> {:died, reason}
    end
  end

  defp totals(before, now) do
    names = [:acquired, :rejected, :timed_out, :released_by_exit, :in_use, :waiting]
    grown = for name <- names, do: {name, now[name] - before[name]}
    expected = [acquired: before.limit + 1, rejected: 1, timed_out: 1, released_by_exit: 1, in_use: 0, waiting: 0]
    same(:totals, grown, expected)
  end

  defp same(_what, value, value), do: :ok
  defp same(what, value, expected), do: {:error, {what, value, :expected, expected}}

  defp release(calls, times), do: for(_ <- 1..times//1, do: calls.release.())

  defp release_all(calls), do: if(calls.release.() == :ok, do: release_all(calls))
end
