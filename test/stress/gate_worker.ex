defmodule Penstock.Stress.GateWorker do
  # A process that asks a gate of four limits again and again, with keys that each limit refuses and
  # with keys that are admitted, until all decisions are made, or it is told to stop or killed.
  @moduledoc false

  alias Penstock.{Gate, RejectedError}
  alias Penstock.Stress.{Exits, Kids}

  @open_keys 8

  def ask(shared, seed) do
    :rand.seed(:exsss, seed)
    loop(shared, :rand.uniform(100))
  end

  defp loop(shared, turn) do
    if :counters.get(shared.asked, 1) < shared.decisions and :atomics.get(shared.stop, 1) == 0 do
      turn(rem(turn, 8), shared)
      loop(shared, turn + 1)
    end
  end

  ## Turns. Each limit refuses in turn, and requests that may be admitted come in between.

  defp turn(0, shared), do: refused(shared, "banned", &match?({:banned, :infinity}, &1))
  defp turn(2, shared), do: refused(shared, "spent", &match?({:rate_limited, ms} when ms > 0, &1))
  defp turn(4, shared), do: refused(shared, "kept", &(&1 == :key_full))
  defp turn(6, shared), do: crowd(shared)
  defp turn(_odd, shared), do: admitted(:rand.uniform(8), shared, "open #{:rand.uniform(@open_keys)}")

  # Only the limit that this key is for may refuse it, and never anything else.
  defp refused(shared, key, expected?) do
    case Gate.try_acquire(shared.gate, key: key) do
      {:error, reason} -> unless expected?.(reason), do: fault(shared, {:reason, key, reason})
      :ok -> fault(shared, {:admitted, key})
    end

    count(shared)
  end

  # Takes permits by keys of its own until the pool is full.
  defp crowd(shared), do: crowd(shared, 0)

  defp crowd(shared, taken) do
    answer = Gate.try_acquire(shared.gate, key: {self(), taken})
    count(shared)

    case answer do
      :ok when taken < shared.pool_limit -> crowd(shared, taken + 1)
      :ok -> fault(shared, {:over_limit, :pool, taken})
      {:error, _reason} -> :ok
    end

    if answer == :ok, do: :ok = Gate.release(shared.gate, key: {self(), taken})
    :ok
  end

  defp admitted(n, shared, key) when n <= 2 do
    timeout = Enum.random([0, 0, 2])
    answer = Gate.acquire(shared.gate, key: key, timeout: timeout)
    count(shared)

    if answer == :ok do
      inside(shared, key, fn -> spin(:rand.uniform(500)) end)
      :ok = Gate.release(shared.gate, key: key)
    end
  end

  defp admitted(n, shared, key) when n <= 4 do
    opts = [key: key, timeout: Enum.random([0, 2])]
    opts = if n == 4, do: [{:keys, %{shared.rates => {:rate_of, key}}} | opts], else: opts
    Penstock.run(shared.gate, fn -> inside(shared, key, fn -> spin(:rand.uniform(500)) end) end, opts)
    count(shared)
  end

  defp admitted(5, shared, key) do
    fate = Enum.random([:end, :end, :hang, :suicide, :parricide])
    asker = self()

    answer =
      Penstock.spawn(shared.gate, fn -> child(fate, shared, key, asker) end, key: key, timeout: Enum.random([0, 2]))

    count(shared)
    if match?({:error, _}, answer), do: Kids.end_one(shared.kids)
  end

  defp admitted(6, shared, key) do
    Penstock.Task.start(shared.gate, fn -> inside(shared, key, fn -> :ok end) end, key: key)
    count(shared)
  end

  defp admitted(7, shared, key) do
    shared.gate
    |> Penstock.Task.async_stream([1, 2, 3], fn _ -> inside(shared, key, fn -> :ok end) end,
      key: key,
      max_concurrency: 2,
      acquire_timeout: Enum.random([0, 5])
    )
    |> Stream.run()

    count(shared)
  rescue
    RejectedError -> count(shared)
  end

  defp admitted(8, shared, key) do
    start_supervised(:rand.uniform(3), shared, key)
    count(shared)
  catch
    kind, reason ->
      Exits.note(shared.faults, kind, reason, [shared.tasks, shared.children, shared.plain])
      :erlang.yield()
  end

  defp start_supervised(1, shared, key) do
    # A task gives its permits back when its function returns, shortly before it dies.
    Penstock.Task.Supervisor.start_child(shared.tasks, fn -> go_out(shared, supervised(shared, key)) end, key: key)
  end

  defp start_supervised(2, shared, key) do
    Penstock.DynamicSupervisor.start_child(shared.children, spec(shared, key), key: key, timeout: Enum.random([0, 2]))
  end

  defp start_supervised(3, shared, key) do
    DynamicSupervisor.start_child(shared.plain, Penstock.child_spec(spec(shared, key), shared.gate, key: key))
  end

  defp spec(shared, key) do
    %{id: :child, start: {__MODULE__, :start_child, [shared, key]}, restart: Enum.random([:temporary, :transient])}
  end

  ## Children

  defp child(:end, shared, key, _asker), do: inside(shared, key, fn -> :ok end)
  defp child(:suicide, _shared, _key, _asker), do: Process.exit(self(), :kill)
  defp child(:parricide, _shared, _key, asker), do: Process.exit(asker, :kill)

  defp child(:hang, shared, key, _asker) do
    come_in(shared, key)
    Kids.stay(shared.kids)
  end

  @doc false
  # The start function of a supervised child.
  def start_child(shared, key), do: Kids.start_child(fn -> supervised(shared, key) end)

  # The supervisor holds the permits during the start. If it dies then, the permits return before
  # the child dies. So the child counts as inside only once it holds the permits itself.
  defp supervised(shared, key), do: supervised(shared, key, 200)

  defp supervised(_shared, _key, 0), do: []

  defp supervised(shared, key, tries) do
    if holds?(Penstock.KeyedPool.holders(shared.keyed, key)) and holds?(Penstock.Pool.holders(shared.pool)) do
      come_in(shared, key)
    else
      :erlang.yield()
      supervised(shared, key, tries - 1)
    end
  end

  defp holds?(holders), do: Enum.any?(holders, &(&1.pid == self()))

  ## Who is inside

  defp inside(shared, key, work) do
    marks = come_in(shared, key)
    result = work.()
    go_out(shared, marks)
    result
  end

  defp go_out(shared, marks), do: for(mark <- marks, do: :ets.delete_object(shared.inside, mark))

  # Counts the living processes that are inside the work, all together and of the key. A process
  # comes in after it was admitted, and goes out before it releases. So those that were in the table
  # at one instant, and are alive after it, held their permits together at that instant.
  defp come_in(shared, key) do
    for {of, limit} <- [pool: shared.pool_limit, key: {key, shared.key_limit}], do: come_in_of(shared, of, limit)
  end

  defp come_in_of(shared, :key, {key, limit}), do: mark(shared, {:key, key}, limit)
  defp come_in_of(shared, :pool, limit), do: mark(shared, :pool, limit)

  defp mark(shared, of, limit) do
    mark = {of, self(), make_ref()}
    :ets.insert(shared.inside, mark)
    marks = :ets.lookup(shared.inside, of)
    {live, dead} = Enum.split_with(marks, fn {_of, pid, _ref} -> Process.alive?(pid) end)
    for mark <- dead, do: :ets.delete_object(shared.inside, mark)
    if length(live) > limit, do: fault(shared, {:over_limit, of, length(live), limit})
    mark
  end

  defp fault(shared, fault), do: :ets.insert(shared.faults, {make_ref(), fault})

  defp count(shared), do: :counters.add(shared.asked, 1, 1)

  defp spin(0), do: :ok
  defp spin(n), do: spin(n - 1)
end
