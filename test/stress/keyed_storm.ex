defmodule Penstock.Stress.KeyedStorm do
  # Kills holders, waiters, spawners, children, supervisors and owners of a keyed pool at random
  # instants, while workers acquire, wait, run, spawn and stream with random keys. After each round
  # the counts of the pool must match the permits of the survivors. Then the survivors end, and no
  # key may be left.
  @moduledoc false

  alias Penstock.KeyedPool
  alias Penstock.Stress.{Crashes, Keeper, KeyedWorker, Kids, Round, Survivors}

  @kills_a_round 2_000
  @workers 8
  # How often the killer looks for a victim in the drawn state.
  @looks 40
  @longest_pause 2_000
  @patience_ms 60_000

  # The share of each kind of victim. `:kid` is a child that a worker spawned, or that a supervisor
  # started; `:front` is a supervisor.
  @victims [kid: 30, owner: 2, front: 1]
           |> Keyword.merge(take: 10, hold: 15, wait: 12, park: 12, spawner: 14, run: 8, stream: 4)
           |> Keyword.merge(starter: 6, idle: 1)
           |> Enum.flat_map(fn {victim, share} -> List.duplicate(victim, share) end)
           |> List.to_tuple()

  def run(seed, kills), do: run(seed, 0, kills, %{})

  defp run(seed, round, kills, killed) do
    sum = killed |> Map.values() |> Enum.sum()

    if sum >= kills do
      for {victim, n} <- Enum.sort_by(killed, &elem(&1, 1), :desc), do: IO.puts("  #{victim}: #{n}")
      {:ok, sum}
    else
      if rem(round, 10) == 0, do: IO.puts("  round #{round}: #{sum} kills so far")

      case Round.run(fn -> round(seed, round) end) do
        {:ok, more} -> run(seed, round + 1, kills, Map.merge(killed, more, fn _victim, a, b -> a + b end))
        {:error, problem} -> {:error, {:round, round, problem}}
      end
    end
  end

  defp round(seed, round) do
    Process.flag(:trap_exit, true)
    :rand.seed(:exsss, {seed, round, 2})
    limit = Enum.random([1, 2, 5, 20])
    # The keyed pool of each round has the same name, so that each round also tests the reuse of
    # the pool that the round before has closed. Restarts take no permit beyond the limit, so that
    # the work can check the limit.
    opts = [name: __MODULE__.Pool, limit: limit, max_overdraft: 0]
    opts = [{:max_keys, Enum.random([4, 64, 10_000])}, {:max_waiting, Enum.random([0, 3, 1_000])} | opts]
    keeper = Keeper.start(opts, KeyedPool)

    shared = %{
      pool: __MODULE__.Pool,
      tasks: __MODULE__.Tasks,
      children: __MODULE__.Children,
      plain: __MODULE__.Plain,
      limit: limit,
      stop: :atomics.new(1, []),
      kids: :ets.new(:kids, [:public, :set, write_concurrency: true]),
      inside: :ets.new(:inside, [:public, :bag, write_concurrency: true]),
      faults: :ets.new(:faults, [:public, :set]),
      parent: self()
    }

    top = Kids.start_supervisors(shared.pool, shared)

    workers = for _ <- 1..@workers, do: worker(shared)
    {workers, killed} = storm(shared, List.to_tuple(workers), @kills_a_round, %{})
    :atomics.put(shared.stop, 1, 1)
    Supervisor.stop(top)

    with :ok <- check(shared, Tuple.to_list(workers)),
         [] <- :ets.tab2list(shared.faults),
         :ok <- Crashes.check() do
      Keeper.stop(keeper)
      {:ok, killed}
    else
      [_ | _] = faults -> {:error, {:faults, Enum.take(faults, 5)}}
      error -> error
    end
  end

  defp worker(shared), do: KeyedWorker.start(shared, :rand.uniform(1_000_000_000))

  ## Kills

  defp storm(_shared, workers, kills, killed) when kills <= 0, do: {workers, killed}

  defp storm(shared, workers, kills, killed) do
    victim = elem(@victims, :rand.uniform(tuple_size(@victims)) - 1)
    pause(:rand.uniform(@longest_pause))
    hit = kill(find(victim, shared, workers))
    killed = if hit == 1, do: Map.update(killed, victim, 1, &(&1 + 1)), else: killed
    storm(shared, renew(workers, shared), kills - hit, killed)
  end

  defp find(:kid, shared, _workers) do
    with pid when is_pid(pid) <- :ets.first(shared.kids) do
      :ets.delete(shared.kids, pid)
      pid
    end
  end

  defp find(:owner, shared, _workers), do: Penstock.Native.gate_owner(shared.pool)

  defp find(:front, shared, _workers),
    do: Process.whereis(Enum.random([shared.tasks, shared.children, shared.plain]))

  defp find(state, _shared, workers), do: find_worker(workers, state, @looks)

  defp find_worker(_workers, _state, 0), do: nil

  defp find_worker(workers, state, looks) do
    {pid, me} = elem(workers, :rand.uniform(@workers) - 1)

    if KeyedWorker.at?(me, state) do
      pause(:rand.uniform(200))
      pid
    else
      pause(50)
      find_worker(workers, state, looks - 1)
    end
  end

  defp kill(pid) when is_pid(pid) do
    alive? = Process.alive?(pid)
    Process.exit(pid, :kill)
    if alive?, do: 1, else: 0
  end

  defp kill(_nobody), do: 0

  # Replaces the dead workers. A worker also dies of the kill of its task, or by its own child.
  defp renew(workers, shared) do
    Enum.reduce(0..(@workers - 1), workers, fn at, workers ->
      {pid, _me} = elem(workers, at)
      if Process.alive?(pid), do: workers, else: put_elem(workers, at, worker(shared))
    end)
  end

  defp pause(0), do: :ok
  defp pause(n), do: pause(n - 1)

  ## What is left

  # Returns `:ok` if the counts of the keyed pool are those of its living holders and waiters, and are zero
  # once all have given back. The supervisors have stopped, and the workers have been told to stop.
  def check(shared, workers) do
    Process.delete(:told)

    with {:ok, held} <- Survivors.until(fn -> settled(shared, workers) end),
         :ok <- give_back(workers, held) do
      Survivors.until(fn -> empty(shared) end)
    end
  end

  # Compares the counts once. Each living worker has stopped and told what it holds, or is parked.
  # Returns the pids of those that have stopped.
  defp settled(shared, workers) do
    end_kids(shared)
    live = for {pid, me} <- workers, Process.alive?(pid), do: {pid, me}
    {parked, others} = Enum.split_with(live, fn {pid, me} -> parked?(pid, me) end)
    told = told()
    stopped = for {pid, _me} <- others, is_map_key(told, pid), do: pid
    held = for {pid, permits} <- told, pid in stopped, {key, n} <- permits, do: {{key, pid}, n}
    info = KeyedPool.info(shared.pool)

    cond do
      length(stopped) < length(others) -> {:error, {:not_at_rest, others -- stopped}}
      info.waiting != length(parked) -> {:error, {:waiting, info, length(parked)}}
      info.in_use != held |> Enum.map(&elem(&1, 1)) |> Enum.sum() -> {:error, {:in_use, info, held, holders(shared)}}
      wrong = Enum.find(keys(held), &wrong_key(shared, held, &1)) -> {:error, {:key, wrong, held}}
      true -> {:ok, stopped}
    end
  end

  # Returns the holders of the keys that hold most, and what each holder does.
  defp holders(shared) do
    for %{key: key} = top <- KeyedPool.top(shared.pool), holder <- KeyedPool.holders(shared.pool, key) do
      {top, holder, Process.info(holder.pid, [:current_stacktrace, :links, :messages, :dictionary])}
    end
  end

  # Reads the messages of stopped workers, and keeps what it has read for the next look.
  defp told do
    receive do
      {:stopped, pid, permits} ->
        Process.put(:told, Map.put(Process.get(:told, %{}), pid, permits))
        told()
    after
      0 -> Process.get(:told, %{})
    end
  end

  defp parked?(pid, me) do
    KeyedWorker.at?(me, :park) and
      match?(
        [status: :waiting, current_function: {Penstock.Admission.KeyedWait, _, _}],
        Process.info(pid, [:status, :current_function])
      )
  end

  defp end_kids(shared) do
    for {pid} <- :ets.tab2list(shared.kids) do
      Process.exit(pid, :kill)
      :ets.delete(shared.kids, pid)
    end
  end

  defp keys(held), do: held |> Enum.map(fn {{key, _pid}, _n} -> key end) |> Enum.uniq()

  # Returns `true` unless the report of the key, and that of its holders, agree with the workers.
  defp wrong_key(shared, held, key) do
    sums = for {{^key, pid}, n} <- held, reduce: %{}, do: (sums -> Map.update(sums, pid, n, &(&1 + n)))
    holders = Map.new(KeyedPool.holders(shared.pool, key), &{&1.pid, &1.permits})
    in_use = sums |> Map.values() |> Enum.sum()
    holders != sums or KeyedPool.info(shared.pool, key).in_use != in_use or in_use > shared.limit
  end

  # Makes the stopped workers release their permits. So parked workers get the permits that they
  # wait for, and stop as well.
  defp give_back(workers, stopped) do
    for pid <- stopped, do: send(pid, :give_back)
    # A parked worker tells what it holds when it stops: nothing.
    for {pid, _me} <- workers, pid not in stopped, do: send(pid, :give_back)
    Enum.find_value(workers, :ok, fn {pid, _me} -> if Process.alive?(pid), do: never_woken(pid) end)
  end

  # Returns nil if the worker has given back its permits, otherwise an error.
  defp never_woken(pid) do
    receive do
      {:gave_back, ^pid} -> send(pid, :end) && nil
    after
      @patience_ms -> if Process.alive?(pid), do: {:error, {:never_woken, pid, Process.info(pid)}}
    end
  end

  defp empty(shared) do
    info = KeyedPool.info(shared.pool)
    hot = for key <- KeyedWorker.hot(), do: KeyedPool.info(shared.pool, key)
    free = %{in_use: 0, available: shared.limit, waiting: 0}

    if {info.keys, info.in_use, info.waiting} == {0, 0, 0} and Enum.all?(hot, &(&1 == free)) and
         KeyedPool.top(shared.pool) == [],
       do: :ok,
       else: {:error, {:not_empty, info, hot, KeyedPool.top(shared.pool)}}
  end
end
