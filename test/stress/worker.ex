defmodule Penstock.Stress.Worker do
  # A process that performs random operations on a pool, until it is told to stop or killed.
  @moduledoc false

  alias Penstock.{Pool, Stress}
  alias Penstock.Stress.Kids

  # The states of a worker. A worker publishes its state, so that the killer can aim at it.
  # `take`: the worker asks for permits. `wait` and `park`: it waits with a timeout, and without
  # one.
  @states [:idle, :take, :hold, :wait, :park, :transfer, :spawner, :run]
  @codes @states |> Enum.with_index() |> Map.new()
  @count length(@states)

  # The fates of children, with the weight of each.
  @fates [end: 10, look: 2, hang: 5, suicide: 1, parricide: 1, murder: 1]
         |> Enum.flat_map(fn {fate, share} -> List.duplicate(fate, share) end)
         |> List.to_tuple()

  # For each operation, the reductions during which a kill is worthwhile, counted from the start
  # of the operation. Earlier reductions only check options. A spawner hands over between
  # reductions 73 and 79.
  @spans %{take: 30..50, hold: 1..200, wait: 30..90, park: 30..90, transfer: 1..14, spawner: 60..81, run: 30..150}

  # Starts a worker. `shared` is %{pool, stop, peers, kids, tally}. Returns the worker, and the
  # atomics in which it publishes its state. Each worker has its own atomics, because a killed
  # worker may run on for a while at the same time as its successor.
  def start(shared, seed) do
    me = :atomics.new(1, [])

    pid =
      spawn(fn ->
        :rand.seed(:exsss, seed)
        receive do: (:go -> loop(shared, me, 1))
      end)

    {pid, me}
  end

  # The published number encodes the number of the worker's turn, and its state in that turn.
  def state(me), do: Enum.at(@states, rem(:atomics.get(me, 1), @count))
  def at?(me, state), do: rem(:atomics.get(me, 1), @count) == @codes[state]

  # Returns `:child` if the spawner is still in the turn that created the child, else `:grown`.
  def child(me, mark), do: if(:atomics.get(me, 1) == mark, do: :child, else: :grown)

  defp loop(shared, me, number) do
    if :atomics.get(shared.stop, 1) == 1 do
      stopped(shared)
    else
      turn = %{me: me, number: number, where: :rand.uniform()}
      act = action(:rand.uniform(12), shared, turn)
      act.()
      leave(turn)
      loop(shared, me, number + 1)
    end
  end

  # A kill takes effect where the VM schedules its victim out. That place should be anywhere in
  # the next operation. The VM gives a process 4,000 reductions each time that it runs. So the
  # worker yields, and then uses up all reductions except the number that it should still run.
  defp enter(%{me: me, where: where} = turn, state) do
    first..last = @spans[state]
    done = 4_000 - first - trunc(where * (last - first + 1))
    mark = mark(turn, state)
    :erlang.yield()
    :erlang.bump_reductions(done)
    :atomics.put(me, 1, mark)
  end

  defp leave(turn), do: :atomics.put(turn.me, 1, mark(turn, :idle))

  defp mark(turn, state), do: turn.number * @count + @codes[state]

  # The worker keeps its permits until the checking process sends `:give_back`. Then the worker
  # releases them one by one, and answers with their number.
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

  # Returns a function that performs the next operation. All random choices are made before it
  # runs.

  defp action(n, %{pool: pool}, turn) when n <= 3 do
    permits = :rand.uniform(2)
    busy = :rand.uniform(200)
    # The worker often keeps some permits, so that kills hit every kind of holder.
    keep? = :rand.uniform(3) == 1
    timeout = Enum.random([0, 2])

    fn ->
      enter(turn, :take)

      if Pool.acquire(pool, permits: permits, timeout: timeout) == :ok do
        enter(turn, :hold)
        spin(busy)
        if not keep?, do: Pool.release(pool)
      else
        give_back(pool, 0)
      end
    end
  end

  defp action(n, %{pool: pool}, turn) when n <= 5 do
    timeout = Enum.random([0, 1, 1, 2, 50, :infinity])
    permits = Enum.random([1, 1, 1, 2, 3])
    state = if timeout == :infinity, do: :park, else: :wait

    fn ->
      # A worker that waits without end must hold nothing, because workers could wait for each
      # other. A worker that waits long must hold nothing, so that the others can go on.
      if timeout > 2, do: give_back(pool, 0)
      enter(turn, state)

      case Pool.acquire(pool, permits: permits, timeout: timeout) do
        :ok -> for _ <- 1..permits, do: :ok = Pool.release(pool)
        {:error, reason} when reason in [:timeout, :full, :queue_full, :deadlock] -> give_back(pool, 0)
      end
    end
  end

  defp action(n, %{pool: pool} = shared, turn) when n <= 7 do
    peer = :ets.lookup_element(shared.peers, :rand.uniform(:ets.info(shared.peers, :size)), 2)
    timeout = Enum.random([0, 2])

    fn ->
      enter(turn, :take)

      if Pool.acquire(pool, timeout: timeout) == :ok do
        enter(turn, :transfer)
        true = Pool.transfer(pool, peer) in [:ok, {:error, :noproc}]
      end

      Pool.release(pool)
    end
  end

  defp action(n, %{pool: pool} = shared, turn) when n <= 11 do
    fate = elem(@fates, :rand.uniform(tuple_size(@fates)) - 1)
    permits = Enum.random([1, 1, 2])
    # A child of low priority often finds its spawner dead.
    priority = Enum.random([:normal, :low])
    opts = [permits: permits, timeout: Enum.random([0, 2, 2]), spawn_opt: [priority: priority]]
    spawner = self()
    mark = mark(turn, :spawner)
    child = fn -> child(fate, {spawner, turn.me, mark}, permits, shared) end

    fn ->
      enter(turn, :spawner)
      result = Penstock.spawn(pool, child, opts)
      leave(turn)

      case result do
        {:ok, pid} when fate == :murder -> Stress.Tally.kill(shared.tally, :grown, pid)
        {:ok, _pid} -> :ok
        {:error, _full_or_timeout} -> make_room(shared)
      end
    end
  end

  defp action(_, %{pool: pool}, turn) do
    busy = :rand.uniform(100)
    timeout = Enum.random([0, 2])

    fn ->
      enter(turn, :run)
      Penstock.run(pool, fn -> Penstock.run(pool, fn -> spin(busy) end, timeout: 0) end, timeout: timeout)
    end
  end

  # Releases all permits of the worker, and ends one child that stays. Otherwise such children,
  # and permits that workers keep, would soon take the whole pool.
  defp make_room(%{pool: pool, kids: kids}) do
    give_back(pool, 0)
    Kids.end_one(kids)
  end

  defp child(:end, _spawner, _permits, _shared), do: :ok

  # Checks that the child holds its permits. If it does not, the match crashes, which fails the
  # round.
  defp child(:look, _spawner, permits, shared) do
    %{permits: ^permits} = Enum.find(Pool.holders(shared.pool), &(&1.pid == self()))
  end

  # Counts itself before its kill, because a dead process cannot count.
  defp child(:suicide, {_spawner, me, mark}, _permits, shared) do
    Stress.Tally.count(shared.tally, child(me, mark))
    Process.exit(self(), :kill)
  end

  # Kills the spawner of the child, if the spawner has not completed the handoff yet.
  defp child(:parricide, {spawner, me, mark}, _permits, shared) do
    if child(me, mark) == :child, do: Stress.Tally.kill(shared.tally, :spawner, spawner)
  end

  defp child(_hang_or_murder, {_spawner, me, mark}, permits, shared) do
    :ets.insert(shared.kids, {self(), permits, me, mark})
    receive do: (:end -> :ok)
  end

  defp spin(0), do: :ok
  defp spin(n), do: spin(n - 1)
end
