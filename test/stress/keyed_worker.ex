defmodule Penstock.Stress.KeyedWorker do
  # A process that performs random operations on keys of a keyed pool, until it is told to stop or
  # killed.
  @moduledoc false

  alias Penstock.{KeyedPool, RejectedError}
  alias Penstock.Stress.{Exits, Kids}

  # The states of a worker. A worker publishes its state, so that the killer can aim at it.
  @states [:idle, :take, :hold, :wait, :park, :spawner, :run, :stream, :starter, :stopped]
  @codes @states |> Enum.with_index() |> Map.new()

  # The reductions that a worker still runs at most after it has published its state. A kill takes
  # effect where the VM schedules its victim out, which so is anywhere in the operation.
  @left 250

  # The reductions that the VM gives a process each time that it runs.
  @reductions 4_000

  @hot 3
  @warm 200

  def states, do: @states -- [:stopped]

  @doc """
  Starts a worker. Returns the worker, and the atomics in which it publishes its state.

  `shared` is `%{pool, limit, stop, kids, inside, faults, parent}`.
  """
  def start(shared, seed) do
    me = :atomics.new(1, [])

    pid =
      spawn(fn ->
        :rand.seed(:exsss, seed)
        loop(shared, me, [])
      end)

    {pid, me}
  end

  def at?(me, state), do: :atomics.get(me, 1) == @codes[state]
  def state(me), do: Enum.at(@states, :atomics.get(me, 1))

  # `held` has `{key, permits, mark}` for each time that the worker acquired permits and kept them.
  defp loop(shared, me, held) do
    if :atomics.get(shared.stop, 1) == 1 do
      :atomics.put(me, 1, @codes[:stopped])
      stopped(shared, held)
    else
      held = act(:rand.uniform(14), shared, me, held)
      :atomics.put(me, 1, @codes[:idle])
      loop(shared, me, held)
    end
  end

  # Tells which permits it holds, and keeps them until the checking process has compared.
  defp stopped(shared, held) do
    send(shared.parent, {:stopped, self(), for({key, permits, _mark} <- held, do: {key, permits})})
    receive do: (:give_back -> :ok)
    give_back(shared, held)
    send(shared.parent, {:gave_back, self()})
    receive do: (:end -> :ok)
  end

  defp enter(me, state) do
    left = :rand.uniform(@left)
    :erlang.yield()
    :atomics.put(me, 1, @codes[state])
    :erlang.bump_reductions(@reductions - left)
  end

  ## Operations. Each returns the permits that the worker then holds.

  defp act(n, shared, me, held) when n <= 3 do
    {key, permits} = {key(), permits()}
    timeout = Enum.random([0, 0, 2])
    keep? = :rand.uniform(3) == 1
    busy = :rand.uniform(500)
    enter(me, :take)

    case acquire(shared, key, permits, timeout) do
      :ok ->
        mark = come_in(shared, key, permits)
        enter(me, :hold)
        spin(busy)
        if keep?, do: [{key, permits, mark} | held], else: leave(shared, key, permits, mark, held)

      {:error, _reason} ->
        give_back(shared, held)
    end
  end

  defp act(n, shared, me, held) when n <= 6 do
    {key, permits} = {key(), Enum.random([1, 1, 2, 3])}
    timeout = Enum.random([1, 2, 50, :infinity])
    # A worker that waits for long must hold nothing, because workers could wait for each other.
    held = if timeout in [50, :infinity], do: give_back(shared, held), else: held
    enter(me, if(timeout == :infinity, do: :park, else: :wait))

    case acquire(shared, key, permits, timeout) do
      :ok -> leave(shared, key, permits, come_in(shared, key, permits), held)
      {:error, _reason} -> give_back(shared, held)
    end
  end

  defp act(n, shared, me, held) when n <= 8 do
    {outer, inner} = {key(), key()}
    timeout = Enum.random([0, 2])
    enter(me, :run)

    Penstock.run(
      shared.pool,
      fn ->
        inside(shared, outer, 1, fn ->
          Penstock.run(shared.pool, fn -> inside(shared, inner, 1, fn -> :ok end) end, key: inner, timeout: 0)
        end)
      end,
      key: outer,
      timeout: timeout
    )

    held
  end

  defp act(n, shared, me, held) when n <= 11 do
    {key, permits} = {key(), permits()}
    fate = Enum.random([:end, :end, :end, :hang, :hang, :look, :suicide, :parricide])
    opts = [key: key, permits: permits, timeout: Enum.random([0, 2])]
    opts = [{:spawn_opt, [priority: Enum.random([:normal, :low])]} | opts]
    spawner = self()
    enter(me, :spawner)

    case Penstock.spawn(shared.pool, fn -> child(fate, shared, key, permits, {spawner, me}) end, opts) do
      {:ok, _pid} ->
        held

      {:error, _reason} ->
        Kids.end_one(shared.kids)
        give_back(shared, held)
    end
  end

  defp act(12, shared, me, held) do
    elements = for _ <- 1..:rand.uniform(6), do: key()
    opts = [key: & &1, max_concurrency: 3, ordered: :rand.uniform(2) == 1, acquire_timeout: Enum.random([0, 5])]
    enter(me, :stream)

    try do
      shared.pool
      |> Penstock.Task.async_stream(elements, &inside(shared, &1, 1, fn -> :ok end), opts)
      |> Stream.take(:rand.uniform(6))
      |> Stream.run()
    rescue
      RejectedError -> :ok
    end

    held
  end

  defp act(n, shared, me, held) when n <= 14 do
    key = key()
    enter(me, :starter)

    try do
      start_supervised(n, shared, key)
    catch
      kind, reason ->
        Exits.note(shared.faults, kind, reason, [shared.tasks, shared.children, shared.plain])
        :erlang.yield()
    end

    held
  end

  defp start_supervised(13, shared, key) do
    Penstock.Task.Supervisor.start_child(shared.tasks, fn -> supervised_task(shared, key) end, key: key)
  end

  defp start_supervised(14, shared, key) do
    restart = Enum.random([:temporary, :transient])
    spec = %{id: :child, start: {__MODULE__, :start_child, [shared, key]}, restart: restart}

    if :rand.uniform(2) == 1 do
      Penstock.DynamicSupervisor.start_child(shared.children, spec, key: key, timeout: Enum.random([0, 2]))
    else
      # A supervisor of Elixir, which asks the gate itself.
      DynamicSupervisor.start_child(shared.plain, Penstock.child_spec(spec, shared.pool, key: key))
    end
  end

  defp acquire(shared, key, permits, 0), do: KeyedPool.try_acquire(shared.pool, key, permits)
  defp acquire(shared, key, permits, ms), do: KeyedPool.acquire(shared.pool, key, permits: permits, timeout: ms)

  defp leave(shared, key, permits, mark, held) do
    go_out(shared, mark)
    :ok = KeyedPool.release(shared.pool, key, permits)
    held
  end

  defp give_back(shared, held) do
    for {key, permits, mark} <- held, do: leave(shared, key, permits, mark, [])
    []
  end

  defp spin(0), do: :ok
  defp spin(n), do: spin(n - 1)

  ## Children

  defp child(:end, shared, key, permits, _spawner), do: inside(shared, key, permits, fn -> :ok end)

  # Checks that the child holds its permits.
  defp child(:look, shared, key, permits, _spawner) do
    unless Enum.any?(
             KeyedPool.holders(shared.pool, key),
             &match?({pid, ^permits} when pid == self(), {&1.pid, &1.permits})
           ) do
      :ets.insert(shared.faults, {make_ref(), {:holds_nothing, key, permits}})
    end
  end

  defp child(:suicide, _shared, _key, _permits, _spawner), do: Process.exit(self(), :kill)

  # Kills the spawner of the child, if the spawner has not completed the handoff yet.
  defp child(:parricide, _shared, _key, _permits, {spawner, me}) do
    if at?(me, :spawner), do: Process.exit(spawner, :kill)
  end

  defp child(:hang, shared, key, permits, _spawner) do
    come_in(shared, key, permits)
    Kids.stay(shared.kids)
  end

  @doc false
  # The start function of a supervised child.
  def start_child(shared, key), do: Kids.start_child(fn -> supervised(shared, key) end)

  # A task gives its permit back when its function returns, shortly before it dies.
  defp supervised_task(shared, key) do
    supervised(shared, key)
    :ets.match_delete(shared.inside, {key, self(), :_, :_})
  end

  # A child under a supervisor. During the start the supervisor holds the permit. If it dies then,
  # the permit returns before the child dies. So the child counts as inside only once it holds the
  # permit itself.
  defp supervised(shared, key), do: supervised(shared, key, 200)

  defp supervised(_shared, _key, 0), do: :ok

  defp supervised(shared, key, tries) do
    if Enum.any?(KeyedPool.holders(shared.pool, key), &(&1.pid == self())) do
      come_in(shared, key, 1)
      :ets.insert(shared.kids, {self()})
    else
      :erlang.yield()
      supervised(shared, key, tries - 1)
    end
  end

  ## Who is inside

  # Runs `work` while the process counts as inside.
  defp inside(shared, key, permits, work) do
    mark = come_in(shared, key, permits)
    result = work.()
    go_out(shared, mark)
    result
  end

  # Counts the permits of the living processes that are inside the work of the key. A process comes
  # in after it was admitted, and goes out before it releases. So those that were in the table at
  # one instant, and are alive after it, held their permits together at that instant.
  defp come_in(shared, key, permits) do
    mark = {key, self(), permits, make_ref()}
    :ets.insert(shared.inside, mark)
    marks = :ets.lookup(shared.inside, key)
    {live, dead} = Enum.split_with(marks, fn {_key, pid, _permits, _ref} -> Process.alive?(pid) end)
    for mark <- dead, do: :ets.delete_object(shared.inside, mark)
    sum = live |> Enum.map(&elem(&1, 2)) |> Enum.sum()
    if sum > shared.limit, do: :ets.insert(shared.faults, {make_ref(), {:over_limit, key, sum, shared.limit}})
    mark
  end

  defp go_out(shared, mark), do: :ets.delete_object(shared.inside, mark)

  ## Keys

  # Hot keys, keys that come again, and keys that never come again: short, long, and too long to be
  # kept for people.
  defp key, do: key(:rand.uniform(20))

  defp key(n) when n <= 12, do: hot(:rand.uniform(@hot))
  defp key(n) when n <= 16, do: {:warm, :rand.uniform(@warm)}
  defp key(17), do: :rand.uniform()
  defp key(18), do: String.duplicate("long ", 60) <> "#{:rand.uniform(@warm)}"
  defp key(_n), do: :crypto.strong_rand_bytes(16)

  def hot, do: for(n <- 1..@hot, do: hot(n))
  defp hot(n), do: "hot #{n}"

  defp permits, do: Enum.random([1, 1, 1, 2])
end
