defmodule Penstock.Stress.Survivors do
  # Compares the counts of a pool with the permits of the processes that have survived a storm.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.Worker

  # In ms. A busy machine may give the VM little time.
  @patience 60_000

  # Polls until the counts agree, for at most a minute. The storm is over, but workers may have
  # to finish their last operation, and the pool's monitors of dead holders may have to fire.
  def check(shared, limit) do
    with {:ok, held} <- until(fn -> settled(shared, limit) end),
         :ok <- give_back(shared, held) do
      until(fn -> empty(shared.pool) end)
    end
  end

  # Compares the counts once. Returns the permits of each holder.
  defp settled(shared, limit) do
    workers = workers(shared)
    kids = live_kids(shared)
    at_rest? = Enum.all?(workers, &at_rest?/1)
    holders = Pool.holders(shared.pool)
    held = Map.new(holders, &{&1.pid, &1.permits})
    info = Pool.info(shared.pool)
    parked = Enum.count(workers, fn {_pid, me} -> Worker.at?(me, :park) end)

    cond do
      not at_rest? -> {:error, :not_at_rest}
      Map.drop(held, pids(workers)) != kids -> {:error, {:unknown_holder, holders, kids}}
      info.in_use > limit -> {:error, {:over_limit, info}}
      Enum.sum(Map.values(held)) != info.in_use -> {:error, {:in_use, info, holders}}
      length(holders) != info.holders -> {:error, {:holders, info, holders}}
      info.waiting != parked -> {:error, {:waiting, info, parked}}
      # A waiter wants at most 3 permits. If 3 are free and a worker is parked, a wake-up was
      # lost.
      info.waiting > 0 and info.available >= min(3, limit) -> {:error, {:lost_wake_up, info}}
      # Compares the workers once more: a child may have killed its spawner since the first look.
      workers(shared) != workers -> {:error, :not_at_rest}
      true -> {:ok, held}
    end
  end

  defp workers(shared) do
    for {_slot, pid, me} <- :ets.tab2list(shared.peers), Process.alive?(pid), do: {pid, me}
  end

  defp pids(workers), do: Enum.map(workers, &elem(&1, 0))

  defp live_kids(shared) do
    for {pid, permits, _, _} <- :ets.tab2list(shared.kids), Process.alive?(pid), into: %{}, do: {pid, permits}
  end

  defp at_rest?({pid, me}) do
    case Process.info(pid, [:status, :current_function]) do
      [status: :waiting, current_function: {Worker, :stopped, _}] -> true
      [status: :waiting, current_function: {Penstock.Admission.Wait, _, _}] -> Worker.at?(me, :park)
      _ -> false
    end
  end

  # Kills the children, and makes the workers release their permits. So parked workers get the
  # permits that they wait for, and release them as well. Kills a parked worker that got permits
  # by a transfer, because it may wait for these very permits.
  defp give_back(shared, held) do
    {stuck, workers} =
      Enum.split_with(workers(shared), fn {pid, me} -> Worker.at?(me, :park) and is_map_key(held, pid) end)

    kids = for {pid, _, _, _} <- :ets.tab2list(shared.kids), do: pid
    for pid <- kids ++ pids(stuck), do: Process.exit(pid, :kill)
    for pid <- pids(workers), do: send(pid, {:give_back, self()})
    Enum.find_value(pids(workers), :ok, &wrong_return(&1, Map.get(held, &1, 0)))
  end

  # Returns nil if the worker had as many permits as the pool counted, otherwise an error.
  defp wrong_return(pid, permits) do
    receive do
      {:gave_back, ^pid, ^permits} -> nil
      {:gave_back, ^pid, other} -> {:error, {:holds, pid, other, :but_should, permits}}
    after
      @patience -> {:error, {:never_woken, pid, Process.info(pid)}}
    end
  end

  # Returns `:ok` if the pool counts no permit, holder or waiter.
  def empty(pool) do
    info = Pool.info(pool)
    if info.in_use == 0 and info.holders == 0 and info.waiting == 0, do: :ok, else: {:error, {:not_empty, info}}
  end

  def until(fun, deadline \\ System.monotonic_time(:millisecond) + @patience) do
    with {:error, _} = error <- fun.() do
      if System.monotonic_time(:millisecond) > deadline do
        error
      else
        receive after: (1 -> until(fun, deadline))
      end
    end
  end
end
