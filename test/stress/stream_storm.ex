defmodule Penstock.Stress.StreamStorm do
  # Kills consumers of streams, their tasks and their stream monitors at random instants. At the
  # end of each round no process is left, so the pool must count no permit.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.{Crashes, Ends, Round}

  @kills_a_round 1_000
  @consumers 12
  @patience 10_000

  def run(seed, kills), do: run(seed, 0, kills, [0, 0, 0])

  defp run(_seed, _round, kills, [a, b, c]) when a + b + c >= kills do
    IO.puts("  consumer #{a}, task #{b}, monitor #{c}")
    {:ok, a + b + c}
  end

  defp run(seed, round, kills, sums) do
    if rem(round, 25) == 0, do: IO.puts("  round #{round}: #{Enum.sum(sums)} kills so far")

    case Round.run(fn -> round(seed, round) end) do
      {:ok, killed} -> run(seed, round + 1, kills, Enum.zip_with(sums, killed, &(&1 + &2)))
      {:error, problem} -> {:error, {:round, round, problem}}
    end
  end

  defp round(seed, round) do
    :rand.seed(:exsss, {seed, round, 1})
    limit = Enum.random([1, 2, 5, 8, 20, 100])
    pool = Pool.new(limit: limit)
    # Has {task, stream monitor} for each running task. A task inserts its own entry.
    tasks = :ets.new(:tasks, [:public, :set, write_concurrency: true])
    consumers = for _ <- 1..@consumers, do: consumer(pool, tasks)
    killed = storm(pool, tasks, consumers, limit, @kills_a_round, [0, 0, 0])
    result = check(pool, tasks)
    :ets.delete(tasks)
    with {:ok, _} <- killed, :ok <- result, :ok <- Crashes.check(), do: killed
  end

  # The last argument counts killed consumers, tasks and stream monitors. After the last kill of a
  # round, this ends the remaining consumers.
  defp storm(_pool, _tasks, consumers, _limit, 0, killed) do
    Ends.kill_all(consumers)
    {:ok, killed}
  end

  defp storm(pool, tasks, consumers, limit, kills, [a, b, c]) do
    pause(:rand.uniform(200))
    info = Pool.info(pool)

    if info.in_use > limit do
      {:error, {:over_limit, info}}
    else
      victim = :rand.uniform(10)
      {task, monitor} = any_task(tasks, pool)

      cond do
        victim <= 3 ->
          # Sometimes sends the consumer a shutdown. That does not count as a kill, because a
          # consumer that traps exits only gets a message.
          hit = kill(Enum.random(consumers), Enum.random([:kill, :kill, :kill, :shutdown]))
          storm(pool, tasks, renew(consumers, pool, tasks), limit, kills - hit, [a + hit, b, c])

        victim <= 9 ->
          hit = kill(task, Enum.random([:kill, :kill, :stop]))
          storm(pool, tasks, renew(consumers, pool, tasks), limit, kills - hit, [a, b + hit, c])

        true ->
          hit = kill(monitor, :kill)
          storm(pool, tasks, renew(consumers, pool, tasks), limit, kills - hit, [a, b, c + hit])
      end
    end
  end

  # Replaces the dead consumers. A consumer whose task or monitor was killed dies of that, unless
  # it traps exits.
  defp renew(consumers, pool, tasks) do
    Enum.map(consumers, &if(Process.alive?(&1), do: &1, else: consumer(pool, tasks)))
  end

  defp pause(0), do: :ok

  defp pause(n) do
    :erlang.yield()
    pause(n - 1)
  end

  # Returns a task and a stream monitor. The task is one that has begun, or any holder of the
  # pool, which may not have begun. The stream monitor is that of a task that has begun, or nil if
  # no task has.
  defp any_task(tasks, pool) do
    begun = for {pid, monitor} <- :ets.tab2list(tasks), Process.alive?(pid), do: {pid, monitor}
    if begun == [], do: {any_holder(pool), nil}, else: with_holder(Enum.random(begun), pool)
  end

  defp with_holder({pid, monitor}, pool) do
    if :rand.uniform(2) == 1, do: {pid, monitor}, else: {any_holder(pool) || pid, monitor}
  end

  defp any_holder(pool) do
    case Pool.holders(pool) do
      [] -> nil
      holders -> Enum.random(holders).pid
    end
  end

  defp kill(nil, _reason), do: 0

  defp kill(pid, reason) do
    alive? = Process.alive?(pid)
    Process.exit(pid, reason)
    if alive? and reason != :shutdown, do: 1, else: 0
  end

  defp consumer(pool, tasks) do
    seed = :rand.uniform(1_000_000_000)
    killer = self()
    spawn(fn -> consume(pool, tasks, killer, seed) end)
  end

  defp consume(pool, tasks, killer, seed) do
    :rand.seed(:exsss, seed)
    Process.flag(:trap_exit, :rand.uniform(2) == 1)

    options = [
      max_concurrency: Enum.random([1, 2, 5, 20]),
      ordered: :rand.uniform(2) == 1,
      timeout: Enum.random([:infinity, 5_000, 20, 1]),
      on_timeout: :kill_task,
      acquire_timeout: Enum.random([:infinity, :infinity, 20, 0])
    ]

    elements = if :rand.uniform(2) == 1, do: Stream.cycle([1]), else: Enum.to_list(1..300)
    stream = Penstock.Task.async_stream(pool, elements, fn _ -> work(tasks) end, options)

    try do
      case :rand.uniform(3) do
        1 -> Stream.run(stream)
        2 -> Enum.take(stream, :rand.uniform(40))
        3 -> stream |> Stream.zip(fails_at(:rand.uniform(30) + 1)) |> Stream.run()
      end
    rescue
      error in [Penstock.RejectedError, RuntimeError] -> error
    end

    case left_behind(killer) do
      [] -> consume(pool, tasks, killer, :rand.uniform(1_000_000_000))
      messages -> raise "left in the mailbox: #{inspect(messages)}"
    end
  end

  # Returns a stream that raises at element `n`. `n` must not be 1, because a zip that raises at
  # its first element does not halt the streams that it has started.
  defp fails_at(n), do: Stream.map(1..n, fn x -> if x == n, do: raise("enough"), else: x end)

  # Returns all messages except those of the killer.
  defp left_behind(killer) do
    receive do
      {:EXIT, ^killer, _reason} -> left_behind(killer)
      other -> [other | left_behind(killer)]
    after
      0 -> []
    end
  end

  defp work(tasks) do
    :ets.insert(tasks, {self(), hd(Process.get(:"$ancestors"))})
    for _ <- 1..:rand.uniform(20), do: :erlang.yield()
    :ets.delete(tasks, self())
  end

  # Polls until the pool counts no permit. All processes of the round are dead, but the pool's
  # monitors of dead holders may still have to fire.
  defp check(pool, tasks, deadline \\ System.monotonic_time(:millisecond) + @patience) do
    info = Pool.info(pool)
    alive = for {pid, _monitor} <- :ets.tab2list(tasks), Process.alive?(pid), do: pid

    cond do
      {info.in_use, info.holders, info.waiting, alive} == {0, 0, 0, []} ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        {:error, {:left_over, info, Pool.holders(pool), alive}}

      true ->
        receive after: (1 -> :ok)
        check(pool, tasks, deadline)
    end
  end
end
