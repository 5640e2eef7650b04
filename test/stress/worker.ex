defmodule Penstock.Stress.Worker do
  # A process that does what a pool allows, at random, until it is told to stop or killed.
  @moduledoc false

  alias Penstock.Pool

  # What a worker is at, published so that a kill can be counted by it, and so that who waits is known.
  @states [:idle, :hold, :wait, :transfer, :spawner, :run]
  @codes @states |> Enum.with_index() |> Map.new()

  # `shared`: %{pool, stop, states, kids, peers, kills}
  def start(shared, slot, seed) do
    spawn(fn ->
      :rand.seed(:exsss, seed)
      :atomics.put(shared.states, slot, 0)
      receive do: (:go -> loop(shared, slot))
    end)
  end

  def state(shared, slot), do: Enum.at(@states, :atomics.get(shared.states, slot))

  defp at(shared, slot, state), do: :atomics.put(shared.states, slot, @codes[state])

  defp loop(shared, slot) do
    if :atomics.get(shared.stop, 1) == 1 do
      at(shared, slot, :idle)
      stopped(shared)
    else
      action = :rand.uniform(12)
      # A kill takes effect where its victim loses its turn: let that be anywhere inside the action.
      :erlang.bump_reductions(3_880 + :rand.uniform(118))
      act(action, shared, slot)
      at(shared, slot, :idle)
      loop(shared, slot)
    end
  end

  # At rest: holds what it holds until asked how much that is, which only giving it back can tell.
  defp stopped(shared) do
    receive do
      {:give_back, from} ->
        send(from, {:gave_back, self(), give_back(shared.pool, 0)})
        stopped(shared)
    end
  end

  defp give_back(pool, count) do
    case Pool.release(pool) do
      :ok -> give_back(pool, count + 1)
      {:error, :not_held} -> count
    end
  end

  defp act(n, shared, slot) when n <= 3 do
    at(shared, slot, :hold)

    if Pool.try_acquire(shared.pool, :rand.uniform(2)) == :ok do
      spin(:rand.uniform(200))
      # Often it keeps some: a kill must find holders of all kinds.
      if :rand.uniform(3) > 1, do: Pool.release(shared.pool)
    else
      Pool.release(shared.pool)
    end
  end

  defp act(n, shared, slot) when n <= 6 do
    at(shared, slot, :wait)
    timeout = Enum.random([0, 1, 1, 2, 50, :infinity])
    permits = Enum.random([1, 1, 1, 2, 3])

    # Who waits for ever must hold nothing, or all could wait for each other.
    if timeout == :infinity, do: give_back(shared.pool, 0)

    case Pool.acquire(shared.pool, permits: permits, timeout: timeout) do
      :ok -> Enum.each(1..permits, fn _ -> Pool.release(shared.pool) end)
      {:error, reason} when reason in [:timeout, :full, :queue_full] -> :ok
    end
  end

  defp act(n, shared, slot) when n <= 8 do
    at(shared, slot, :transfer)
    peer = :ets.lookup_element(shared.peers, :rand.uniform(:ets.info(shared.peers, :size)), 2)

    if Pool.try_acquire(shared.pool) == :ok do
      case Pool.transfer(shared.pool, peer) do
        :ok -> :ok
        {:error, :noproc} -> :ok
      end
    end

    Pool.release(shared.pool)
  end

  defp act(n, shared, slot) when n <= 11 do
    at(shared, slot, :spawner)
    spawner = self()
    fate = Enum.random([:end, :end, :end, :hang, :suicide, :parricide, :murder])
    permits = Enum.random([1, 1, 2])
    timeout = Enum.random([0, 0, 0, 1])

    result =
      Penstock.spawn(shared.pool, fn -> kid(fate, spawner, permits, shared) end,
        permits: permits,
        timeout: timeout
      )

    with {:ok, pid} when fate == :murder <- result do
      :counters.add(shared.kills, 1, 1)
      Process.exit(pid, :kill)
    end
  end

  defp act(_, shared, slot) do
    at(shared, slot, :run)

    Penstock.run(
      shared.pool,
      fn -> Penstock.run(shared.pool, fn -> spin(:rand.uniform(100)) end, timeout: 0) end,
      timeout: Enum.random([0, 1])
    )
  end

  defp kid(:end, _spawner, _permits, _shared), do: :ok

  defp kid(:suicide, _spawner, _permits, shared) do
    :counters.add(shared.kills, 1, 1)
    Process.exit(self(), :kill)
  end

  # Its spawner may not have handed over yet.
  defp kid(:parricide, spawner, _permits, shared) do
    :counters.add(shared.kills, 2, 1)
    Process.exit(spawner, :kill)
  end

  defp kid(_hang_or_murder, _spawner, permits, shared) do
    :ets.insert(shared.kids, {self(), permits})
    Process.sleep(:infinity)
  end

  defp spin(0), do: :ok
  defp spin(n), do: spin(n - 1)
end
