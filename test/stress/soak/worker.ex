defmodule Penstock.Stress.Soak.Worker do
  # A process that calls all kinds of gates at random, until it is killed: pools with and without names,
  # keyed pools, limiters, bans, gates of several limits, mailboxes, tasks, streams and supervisors.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Mailbox, Pool, RateLimiter, RejectedError}
  alias Penstock.Stress.Kids

  # Keys that come again. One key in eight never comes again.
  @keys 50

  def start(shared, seed) do
    spawn(fn ->
      :rand.seed(:exsss, seed)
      Process.flag(:trap_exit, :rand.uniform(4) == 1)
      loop(shared)
    end)
  end

  defp loop(shared) do
    n = :rand.uniform(22)

    try do
      act(n, shared)
    rescue
      # A stream raises if a gate refuses one of its tasks.
      RejectedError -> :ok
    catch
      # The server or the supervisor was killed, and has not started again.
      :error, %ArgumentError{} when n in 16..21 -> :ok
      # The server or the supervisor was killed during the call.
      :exit, _noproc when n in 16..21 -> :ok
    end

    :counters.add(shared.done, 1, 1)
    flush()
    loop(shared)
  end

  defp flush do
    receive do
      _exit_or_answer -> flush()
    after
      0 -> :ok
    end
  end

  defp key, do: if(:rand.uniform(8) == 1, do: make_ref(), else: Enum.random([{:user, number()}, "user #{number()}"]))
  defp number, do: :rand.uniform(@keys)
  defp timeout, do: Enum.random([0, 0, 1, 5])

  ## Pools

  defp act(1, shared) do
    if Pool.acquire(shared.pool, permits: Enum.random([1, 1, 2]), timeout: timeout()) == :ok,
      do: Pool.release(shared.pool)
  end

  defp act(2, shared) do
    {:ok, ref} = Pool.acquire_async(shared.pool, timeout: 5)
    if :rand.uniform(2) == 1, do: Pool.cancel(shared.pool, ref)
    receive do: ({^ref, :ok} -> Pool.release(shared.pool)), after: (6 -> Pool.cancel(shared.pool, ref))
    # The answer may have come just before the request was cancelled.
    receive do: ({^ref, :ok} -> Pool.release(shared.pool)), after: (0 -> :ok)
  end

  defp act(3, _shared) do
    # A pool without a name, whose memory the next one reuses.
    pool = Pool.new(limit: 2)
    :ok = Pool.try_acquire(pool)
    {:ok, task} = Penstock.Task.async(pool, fn -> :done end)
    :done = Task.await(task)
    :ok = Pool.release(pool)
  end

  defp act(4, shared), do: Penstock.run(shared.pool, fn -> :ok end, timeout: timeout())

  defp act(5, shared) do
    Penstock.spawn(shared.pool, fn -> stay(shared) end, timeout: timeout(), max_runtime: Enum.random([1, 20]))
    Kids.end_one(shared.kids)
  end

  defp act(6, shared) do
    if :rand.uniform(50) == 1 do
      Pool.drain(shared.pool, Enum.random([0, 2]))
      Pool.reopen(shared.pool)
    end
  end

  ## Keys

  defp act(7, shared) do
    key = key()
    if KeyedPool.acquire(shared.keyed, key, timeout: timeout()) == :ok, do: :ok = KeyedPool.release(shared.keyed, key)
  end

  defp act(8, shared), do: Penstock.run(shared.keyed, fn -> :ok end, key: key(), timeout: timeout())
  defp act(9, shared), do: for(_ <- 1..20, do: RateLimiter.hit(shared.rates, key()))
  defp act(10, shared), do: RateLimiter.acquire(shared.rates, key(), timeout: timeout())

  defp act(11, shared) do
    RateLimiter.pause(shared.rates, key(), 1)
    RateLimiter.hit_all([{shared.rates, key(), 1}, {shared.rates, key(), 2}])
    RateLimiter.reset(shared.rates, key())
  end

  defp act(12, shared) do
    key = key()
    Ban.record_failure(shared.bans, key)
    if :rand.uniform(5) == 1, do: Ban.ban(shared.bans, key, :rand.uniform(20), {:reason, key})
    Ban.check(shared.bans, key)
    if :rand.uniform(5) == 1, do: Ban.unban(shared.bans, key)
  end

  ## Gates of several limits

  defp act(13, shared) do
    key = key()
    if Gate.acquire(shared.gate, key: key, timeout: timeout()) == :ok, do: :ok = Gate.release(shared.gate, key: key)
  end

  defp act(14, shared), do: Penstock.run(shared.gate, fn -> :ok end, key: key(), timeout: timeout())

  defp act(15, shared) do
    Penstock.spawn(shared.gate, fn -> stay(shared) end, key: key())
    Kids.end_one(shared.kids)
  end

  ## Mailboxes

  defp act(16, shared), do: Mailbox.cast(shared.server, key(), timeout: timeout())
  defp act(17, shared), do: Mailbox.call(shared.server, key(), timeout: timeout())
  defp act(18, shared), do: Mailbox.send(shared.server, key())

  ## Tasks and supervisors

  defp act(19, shared) do
    gate = Enum.random([shared.pool, shared.rates, shared.gate])
    opts = [max_concurrency: 3, acquire_timeout: timeout(), timeout: 1_000]
    opts = if gate == shared.pool, do: opts, else: [{:key, key()} | opts]
    gate |> Penstock.Task.async_stream(1..:rand.uniform(8), & &1, opts) |> Enum.take(:rand.uniform(8))
  end

  defp act(20, shared) do
    with {:ok, task} <- Penstock.Task.Supervisor.async_nolink(shared.tasks, fn -> :done end, key: key()),
         do: Task.yield(task)
  end

  defp act(21, shared) do
    spec = %{id: :child, start: {__MODULE__, :start_child, []}, restart: Enum.random([:temporary, :transient])}
    Penstock.DynamicSupervisor.start_child(shared.children, spec, key: key(), timeout: timeout())
  end

  defp act(22, shared) do
    # What people look at.
    case :rand.uniform(40) do
      1 -> Penstock.list()
      2 -> Penstock.Metrics.scrape()
      3 -> Pool.holders(shared.pool)
      4 -> KeyedPool.top(shared.keyed)
      5 -> Ban.list(shared.bans)
      _mostly -> Pool.info(shared.pool)
    end
  end

  @doc false
  # The start function of a supervised child.
  def start_child, do: Kids.start_child(fn -> :ok end)

  defp stay(shared), do: if(:rand.uniform(2) == 1, do: Kids.stay(shared.kids))
end
