defmodule Penstock.Stress.Soak.Worker do
  # A process that calls all kinds of gates at random, until it is killed: pools with and without names,
  # keyed pools, limiters, bans, gates of several limits, mailboxes, tasks, streams and supervisors. At each
  # rest it stops, takes some permits, tells which, and gives them back.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Mailbox, Pool, RateLimiter, RejectedError}
  alias Penstock.Stress.{Exits, Kids}

  @acts 22
  # The acts that call a server or a supervisor, which may have been killed.
  @of_servers 16..21
  @stream 19

  # In ms, for what must not take long: a busy machine may give the VM little time.
  @patience 60_000

  # Keys that come again. One key in eight never comes again.
  @keys 50

  def start(shared, seed) do
    spawn(fn ->
      :rand.seed(:exsss, seed)
      Process.flag(:trap_exit, :rand.uniform(4) == 1)
      loop(shared)
    end)
  end

  def acts, do: @acts

  defp loop(shared) do
    if :atomics.get(shared.stop, 1) == 1 do
      stopped(shared)
    else
      n = :rand.uniform(@acts)

      try do
        unless match?({:error, _}, act(n, shared)), do: :counters.add(shared.done, n, 1)
      catch
        # A stream raises if a gate refuses one of its tasks.
        :error, %RejectedError{} when n == @stream -> :ok
        kind, reason -> Exits.note(shared.faults, kind, reason, if(n in @of_servers, do: servers(shared), else: []))
      end

      flush()
      loop(shared)
    end
  end

  defp servers(shared), do: [shared.server, shared.tasks, shared.children, shared.plain]

  ## Rest

  # The worker holds nothing. `Soak.Rest` reads from the name of this function that it has stopped.
  def stopped(shared) do
    receive do
      {:hold, from} ->
        held = hold(shared)
        send(from, {:holds, self(), held})
        receive do: ({:give_back, ^from} -> :ok)
        for {kind, what} <- held, do: :ok = give_back(kind, what, shared)
        send(from, {:gave_back, self()})
        stopped(shared)
    end
  end

  # Takes what it gets, and returns it as a list.
  defp hold(shared) do
    for {kind, what} <- [pool: 1, pool: 2, keyed: number(), keyed: number(), gate: self()],
        take(kind, what, shared) == :ok,
        do: {kind, what}
  end

  defp take(:pool, permits, shared), do: Pool.try_acquire(shared.pool, permits)
  defp take(:keyed, key, shared), do: KeyedPool.try_acquire(shared.keyed, key)
  defp take(:gate, key, shared), do: Gate.try_acquire(shared.gate, key: key)

  defp give_back(:pool, permits, shared), do: Pool.release(shared.pool, permits)
  defp give_back(:keyed, key, shared), do: KeyedPool.release(shared.keyed, key)
  defp give_back(:gate, key, shared), do: Gate.release(shared.gate, key: key)

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

  # One wait in ten has no end, so that a lost wake-up shows at the next rest. A child that stays may
  # hold the permit, so the worker ends one first.
  defp timeout(shared) do
    if :rand.uniform(10) == 1 do
      Kids.end_one(shared.kids)
      :infinity
    else
      timeout()
    end
  end

  ## Pools

  defp act(1, shared) do
    permits = Enum.random([1, 1, 2])

    with :ok <- Pool.acquire(shared.pool, permits: permits, timeout: timeout(shared)),
         do: :ok = Pool.release(shared.pool, permits)
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

    with :ok <- KeyedPool.acquire(shared.keyed, key, timeout: timeout(shared)),
         do: :ok = KeyedPool.release(shared.keyed, key)
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

    with :ok <- Gate.acquire(shared.gate, key: key, timeout: timeout(shared)),
         do: :ok = Gate.release(shared.gate, key: key)
  end

  defp act(14, shared), do: Penstock.run(shared.gate, fn -> :ok end, key: key(), timeout: timeout())

  defp act(15, shared) do
    Penstock.spawn(shared.gate, fn -> stay(shared) end, key: key())
    Kids.end_one(shared.kids)
  end

  ## Mailboxes

  defp act(16, shared), do: Mailbox.cast(shared.server, key(), timeout: timeout(shared))

  defp act(17, shared) do
    key = key()
    with {:ok, reply} <- Mailbox.call(shared.server, key, timeout: timeout(), call_timeout: @patience), do: ^key = reply
  end

  defp act(18, shared), do: Mailbox.send(shared.server, key())

  ## Tasks and supervisors

  defp act(19, shared) do
    gate = Enum.random([shared.pool, shared.rates, shared.gate])
    opts = [max_concurrency: 3, acquire_timeout: timeout(), timeout: @patience]
    opts = if gate == shared.pool, do: opts, else: [{:key, key()} | opts]
    gate |> Penstock.Task.async_stream(1..:rand.uniform(8), & &1, opts) |> Enum.take(:rand.uniform(8))
  end

  defp act(20, shared) do
    with {:ok, task} <- Penstock.Task.Supervisor.async_nolink(shared.tasks, fn -> :done end, key: key()),
         do: done(Task.yield(task, @patience))
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

  defp done({:ok, :done}), do: :ok
  # The supervisor was killed.
  defp done({:exit, reason}) when reason in [:killed, :shutdown, :noproc], do: :ok
  defp done(other), do: exit({:wrong_end_of_task, other})

  @doc false
  # The start function of a supervised child.
  def start_child, do: Kids.start_child(fn -> :ok end)

  defp stay(shared), do: if(:rand.uniform(2) == 1, do: Kids.stay(shared.kids))
end
