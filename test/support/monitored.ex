defmodule Penstock.Monitored do
  # Asks which monitors watch holders, while the VM collects handles of the pools in which the
  # holders hold permits. This killed the VM within seconds in an earlier version, in which a
  # destroyed handle took its monitors along.
  @moduledoc false

  alias Penstock.Pool

  @holders 8
  @askers 2
  @makers 2

  @doc "Asks for `ms` ms. Returns how often it asked, and how many pools were made."
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

  # The last process to lose the handle destroys it: the maker or a holder.
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
