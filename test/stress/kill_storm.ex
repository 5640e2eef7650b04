defmodule Penstock.Stress.KillStorm do
  # Kills processes at random instants, and after each round compares what the pool says with what the survivors hold.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.Worker

  @workers 48
  @kills_a_round 5_000

  def run(seed, kills) do
    # Among dozens of busy workers the killer would hardly get a turn.
    priority = Process.flag(:priority, :high)
    result = rounds(seed, kills, 0, %{})
    Process.flag(:priority, priority)
    result
  end

  defp rounds(_seed, kills, _round, done) when is_map_key(done, :total) and :erlang.map_get(:total, done) >= kills do
    {:ok, done}
  end

  defp rounds(seed, kills, round, done) do
    case round(seed, round) do
      {:ok, counts} ->
        done = Map.merge(done, counts, fn _, a, b -> a + b end)
        if rem(round, 10) == 0, do: IO.puts("  round #{round}: #{done.total} kills")
        rounds(seed, kills, round + 1, done)

      {:error, problem} ->
        {:error, {:round, round, problem}}
    end
  end

  defp round(seed, round) do
    :rand.seed(:exsss, {seed, round, 0})
    limit = Enum.random([1, 2, 5, 8, 20, 100])
    max_waiting = Enum.random([0, 3, 1_000])
    # Every round restarts the name, so what a closed pool leaves behind is tried as well.
    pool = __MODULE__.Pool
    keeper = keep_owner(name: pool, limit: limit, max_waiting: max_waiting)

    shared = %{
      pool: pool,
      stop: :atomics.new(1, []),
      states: :atomics.new(@workers, []),
      kids: :ets.new(:kids, [:public, :set, write_concurrency: true]),
      peers: :ets.new(:peers, [:public, :set, read_concurrency: true]),
      kills: :counters.new(2, [:write_concurrency])
    }

    # All of them exist before the first looks for a peer.
    first = for slot <- 1..@workers, do: enlist(shared, slot)
    Enum.each(first, &send(&1, :go))

    counts = storm(shared, keeper, @kills_a_round, %{})
    :atomics.put(shared.stop, 1, 1)
    problem = check(shared, limit)

    for {pid, _} <- :ets.tab2list(shared.kids), do: Process.exit(pid, :kill)
    for {_, pid} <- :ets.tab2list(shared.peers), do: Process.exit(pid, :kill)
    problem = problem || empty(pool)
    stop_owner(keeper)
    :ets.delete(shared.kids)
    :ets.delete(shared.peers)

    self_inflicted = %{child: :counters.get(shared.kills, 1), spawner: :counters.get(shared.kills, 2)}
    counts = Map.merge(counts, self_inflicted, fn _, a, b -> a + b end)
    counts = Map.put(counts, :total, counts |> Map.values() |> Enum.sum())
    if problem, do: {:error, problem}, else: {:ok, counts}
  end

  defp enlist(shared, slot) do
    seed = {:rand.uniform(1_000_000_000), slot, 1}
    pid = Worker.start(shared, slot, seed)
    :ets.insert(shared.peers, {slot, pid})
    pid
  end

  defp storm(_shared, _keeper, 0, counts), do: counts

  defp storm(shared, keeper, left, counts) do
    pause(:rand.uniform(400))

    victim =
      case :rand.uniform(100) do
        1 -> kill_owner(keeper)
        n when n <= 10 -> kill_kid(shared)
        _ -> kill_worker(shared)
      end

    storm(shared, keeper, left - 1, Map.update(counts, victim, 1, &(&1 + 1)))
  end

  defp pause(0), do: :ok
  defp pause(n), do: pause(n - 1)

  defp kill_worker(shared) do
    slot = :rand.uniform(@workers)
    pid = :ets.lookup_element(shared.peers, slot, 2)
    state = Worker.state(shared, slot)
    kill(pid)
    send(enlist(shared, slot), :go)
    state
  end

  defp kill_kid(shared) do
    case :ets.first(shared.kids) do
      :"$end_of_table" ->
        kill_worker(shared)

      pid ->
        :ets.delete(shared.kids, pid)
        kill(pid)
        :child
    end
  end

  # Mostly without waiting for the end, so that deaths overlap.
  defp kill(pid) do
    if :rand.uniform(10) == 1 do
      monitor = Process.monitor(pid)
      Process.exit(pid, :kill)
      receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
    else
      Process.exit(pid, :kill)
    end
  end

  # The pool's owner, started again as a supervisor would.

  defp keep_owner(opts) do
    parent = self()

    keeper =
      spawn_link(fn ->
        Process.flag(:trap_exit, true)
        keeper(parent, opts)
      end)

    receive do: ({:owner, ^keeper, _} -> keeper)
  end

  defp keeper(parent, opts) do
    {:ok, owner} = Pool.start_link(opts)
    send(parent, {:owner, self(), owner})

    receive do
      :kill ->
        Process.exit(owner, :kill)
        receive do: ({:EXIT, ^owner, :killed} -> keeper(parent, opts))

      {:stop, from} ->
        GenServer.stop(owner)
        send(from, {:stopped, self()})
    end
  end

  defp kill_owner(keeper) do
    send(keeper, :kill)
    receive do: ({:owner, ^keeper, _} -> :owner)
  end

  defp stop_owner(keeper) do
    send(keeper, {:stop, self()})
    receive do: ({:stopped, ^keeper} -> :ok)
  end

  # What the survivors hold. Nothing happens any more, but monitors of the dead may still have to run, and
  # workers to finish what they were at: so until it is true, or ten seconds have passed.

  defp check(shared, limit) do
    deadline = System.monotonic_time(:millisecond) + 10_000

    with nil <- wait_until(deadline, fn -> settled(shared, limit) end) do
      before = Pool.info(shared.pool)
      by_kids = shared |> live_kids() |> permits()
      gave = give_back(workers(shared))

      if gave == before.in_use - by_kids do
        wait_until(deadline, fn -> after_giving_back(shared) end)
      else
        {:holds, before, by_kids, {:workers_gave_back, gave}}
      end
    end
  end

  # In this order: a child that is not known yet may still kill a worker.
  defp settled(shared, limit) do
    holders = Pool.holders(shared.pool)
    workers = workers(shared)
    kids = Map.new(live_kids(shared), &{&1.pid, &1.permits})
    at_rest? = Enum.all?(workers, &at_rest?/1)
    info = Pool.info(shared.pool)
    parked = Enum.count(workers, &parked?/1)

    cond do
      not Enum.all?(holders, &known?(&1, workers, kids)) -> {:unknown_holder, holders, kids}
      not at_rest? -> :not_at_rest
      info.in_use > limit -> {:over_limit, info}
      permits(holders) != info.in_use -> {:in_use, info, holders}
      length(holders) != info.holders -> {:holders, info, holders}
      info.waiting != parked -> {:waiting, info, parked}
      # Some wait for up to 3 permits: with that many free and anybody parked, a wake-up was lost.
      info.waiting > 0 and info.available >= min(3, limit) -> {:lost_wake_up, info}
      true -> nil
    end
  end

  defp workers(shared) do
    for {_, pid} <- :ets.tab2list(shared.peers), Process.alive?(pid), do: pid
  end

  defp permits(holders), do: holders |> Enum.map(& &1.permits) |> Enum.sum()

  defp known?(%{pid: pid, permits: permits}, workers, kids) do
    Process.alive?(pid) and (pid in workers or kids[pid] == permits)
  end

  defp live_kids(shared) do
    for {pid, permits} <- :ets.tab2list(shared.kids), Process.alive?(pid) do
      %{pid: pid, permits: permits}
    end
  end

  defp at_rest?(pid) do
    case Process.info(pid, [:status, :current_function]) do
      nil -> true
      [status: :waiting, current_function: {Worker, :stopped, _}] -> true
      [status: :waiting, current_function: {Penstock.Wait, _, _}] -> true
      _ -> false
    end
  end

  defp parked?(pid) do
    match?([current_function: {Penstock.Wait, _, _}], Process.info(pid, [:current_function]))
  end

  # Those who are parked get their permits while the others give back, and come to rest holding nothing.
  defp give_back(workers) do
    workers
    |> Enum.reject(&parked?/1)
    |> Enum.map(fn pid ->
      send(pid, {:give_back, self()})
      receive do: ({:gave_back, ^pid, count} -> count)
    end)
    |> Enum.sum()
  end

  defp after_giving_back(shared) do
    info = Pool.info(shared.pool)
    kids = live_kids(shared)

    cond do
      info.in_use != permits(kids) -> {:after_giving_back, info, kids}
      info.holders != length(kids) -> {:holders_after, info, kids}
      info.waiting != Enum.count(workers(shared), &parked?/1) -> {:waiting_after, info}
      true -> nil
    end
  end

  defp empty(pool) do
    wait_until(System.monotonic_time(:millisecond) + 10_000, fn ->
      info = Pool.info(pool)
      if info.in_use == 0 and info.holders == 0 and info.waiting == 0, do: nil, else: {:not_empty, info}
    end)
  end

  defp wait_until(deadline, fun) do
    case fun.() do
      nil ->
        nil

      problem ->
        if System.monotonic_time(:millisecond) > deadline do
          problem
        else
          receive after: (1 -> wait_until(deadline, fun))
        end
    end
  end

  # Many holders killed at once: everything comes back.
  def mass_death(count) do
    pool = Pool.new(limit: count)
    parent = self()

    pids =
      for _ <- 1..count do
        {:ok, pid} =
          Penstock.spawn(pool, fn ->
            send(parent, :up)
            Process.sleep(:infinity)
          end)

        pid
      end

    for _ <- pids, do: receive(do: (:up -> :ok))
    ^count = Pool.info(pool).in_use
    {:error, :full} = Pool.try_acquire(pool)
    for pid <- pids, do: Process.exit(pid, :kill)

    case empty(pool) do
      nil -> {:ok, count}
      problem -> {:error, problem}
    end
  end
end
