defmodule Penstock.Monitored do
  # Reads `Process.info(holder, :monitored_by)` again and again for holders of pools. Meanwhile
  # the VM collects the handles of these pools. In an earlier version this killed the VM within
  # seconds, because a collected handle took its monitors with it.
  @moduledoc false

  alias Penstock.Pool

  @holders 8
  @askers 2
  @makers 2

  @doc "Asks again and again, during `ms` ms. Returns the numbers of questions and of pools made."
  def hammer(ms) do
    until = now() + ms
    holders = for _ <- 1..@holders, do: spawn_link(&hold/0)
    askers = for _ <- 1..@askers, do: Task.async(fn -> ask(holders, until, 0) end)
    makers = for _ <- 1..@makers, do: Task.async(fn -> make(holders, until, 0) end)
    counts = for tasks <- [askers, makers], do: tasks |> Task.await_many(:infinity) |> Enum.sum()

    for holder <- holders do
      Process.unlink(holder)
      Process.exit(holder, :kill)
    end

    List.to_tuple(counts)
  end

  defp ask(holders, until, count) do
    for holder <- holders, do: {:monitored_by, _} = Process.info(holder, :monitored_by)
    if now() < until, do: ask(holders, until, count + length(holders)), else: count
  end

  # The maker and the holders each have the handle. The last of them to collect it destroys it.
  defp make(holders, until, count) do
    hold_and_drop(holders)
    :erlang.garbage_collect()
    if now() < until, do: make(holders, until, count + 1), else: count
  end

  defp hold_and_drop(holders) do
    pool = Pool.new(limit: @holders)
    for holder <- holders, do: send(holder, {:hold, self(), pool})
    for _ <- holders, do: receive(do: (:held -> :ok))
  end

  defp hold do
    receive do: ({:hold, maker, pool} -> hold(maker, pool))
    :erlang.garbage_collect()
    hold()
  end

  defp hold(maker, pool) do
    :ok = Pool.acquire(pool)
    send(maker, :held)
  end

  defp now, do: System.monotonic_time(:millisecond)
end
