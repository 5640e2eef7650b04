defmodule Penstock.Stress.StartStorm do
  # Kills processes that take part in the start of a child, at random instants: the caller, the
  # child, a partition, and the supervisor, which owns the pool. Each round kills one of these
  # kinds. After a round the holders must be exactly the living children.
  @moduledoc false

  alias Penstock.Pool
  alias Penstock.Stress.{Crashes, Ends, Round, Survivors}

  @victims [:caller, :child, :partition, :supervisor]
  @limit 20
  @callers 8
  @kills_a_round 500

  def run(seed, kills) do
    Process.flag(:trap_exit, true)

    Enum.reduce_while(@victims, {:ok, 0}, fn victim, {:ok, sum} ->
      case rounds(victim, seed, 0, kills) do
        {:ok, killed} ->
          IO.puts("  #{victim}: #{killed} kills")
          {:cont, {:ok, sum + killed}}

        error ->
          {:halt, error}
      end
    end)
  end

  defp rounds(_victim, _seed, killed, kills) when killed >= kills, do: {:ok, killed}

  defp rounds(victim, seed, killed, kills) do
    case Round.run(fn -> round(victim, seed + killed) end) do
      {:ok, more} -> rounds(victim, seed, killed + more, kills)
      {:error, problem} -> {:error, {victim, killed, problem}}
    end
  end

  defp round(victim, seed) do
    Process.flag(:trap_exit, true)
    :rand.seed(:exsss, seed)

    opts = [name: __MODULE__, limit: @limit, max_restarts: 10_000_000, partitions: Enum.random([1, 2])]
    opts = if victim == :partition, do: Keyword.put(opts, :partitions, 2), else: opts
    # `top` restarts the supervisor after each kill of the supervisor.
    {:ok, top} =
      Supervisor.start_link([{Penstock.DynamicSupervisor, opts}], strategy: :one_for_one, max_restarts: 10_000_000)

    # Each child inserts its pid into this table as it begins, so that the storm can kill it.
    begun = :ets.new(:begun, [:public, :set, write_concurrency: true])
    callers = for _ <- 1..@callers, do: caller(begun)
    {callers, killed} = storm(victim, begun, callers, @kills_a_round, 0)
    Ends.kill_all(callers)
    result = Survivors.until(&exact/0)
    Supervisor.stop(top)
    :ets.delete(begun)
    with :ok <- result, :ok <- Crashes.check(), do: {:ok, killed}
  end

  defp storm(_victim, _begun, callers, 0, killed), do: {callers, killed}

  defp storm(victim, begun, callers, kills, killed) do
    pause(:rand.uniform(60))

    hit =
      case victim do
        :caller -> kill(Enum.random(callers))
        :child -> kill(child(begun))
        :partition -> kill(Process.whereis(:"#{__MODULE__}.Partition#{:rand.uniform(2)}"))
        :supervisor -> kill(Process.whereis(__MODULE__))
      end

    callers = Enum.map(callers, &if(Process.alive?(&1), do: &1, else: caller(begun)))
    storm(victim, begun, callers, kills - 1, killed + hit)
  end

  defp child(begun) do
    case :ets.first(begun) do
      :"$end_of_table" ->
        nil

      pid ->
        :ets.delete(begun, pid)
        pid
    end
  end

  defp pause(0), do: :ok

  defp pause(n) do
    :erlang.yield()
    pause(n - 1)
  end

  defp kill(nil), do: 0

  defp kill(pid) do
    alive? = Process.alive?(pid)
    Process.exit(pid, :kill)
    if alive?, do: 1, else: 0
  end

  ## Callers

  defp caller(begun), do: spawn(fn -> call(begun) end)

  defp call(begun) do
    restart = Enum.random([:temporary, :transient, :permanent])
    spec = %{id: :child, start: {__MODULE__, :start_child, [begun, :rand.uniform(30)]}, restart: restart}

    try do
      Penstock.DynamicSupervisor.start_child(__MODULE__, spec, timeout: Enum.random([0, 5]))
    catch
      # The supervisor is dead, or has not started its pool yet.
      :exit, _noproc -> :erlang.yield()
      :error, %ArgumentError{} -> :erlang.yield()
    end

    call(begun)
  end

  @doc false
  # Starts a child. Like the start function of a server, this waits until the child has begun.
  def start_child(begun, yields) do
    parent = self()

    pid =
      spawn_link(fn ->
        :ets.insert(begun, {self()})
        pause(yields)
        send(parent, {:begun, self()})

        receive do
        after
          :rand.uniform(20) -> if :rand.uniform(2) == 1, do: exit(:crashed)
        end
      end)

    monitor = Process.monitor(pid)

    receive do
      {:begun, ^pid} ->
        Process.demonitor(monitor, [:flush])
        {:ok, pid}

      {:DOWN, ^monitor, _, _, reason} ->
        {:error, reason}
    end
  end

  ## What is left

  # Suspends all partitions, and compares holders and living children. Without the suspension,
  # partitions would restart children during the comparison, permanent ones again and again.
  defp exact do
    # Looks up the partitions only once. A restarted supervisor may start others meanwhile, and
    # this must resume only partitions that it has suspended.
    partitions = partitions()
    if partitions == [], do: exit(:noproc)
    for partition <- partitions, do: :ok = :sys.suspend(partition)
    live = for partition <- partitions, pid <- links(partition), do: pid
    # A child may have died just now, and the pool may still count its permit. Then the lists
    # differ, and the caller polls.
    holders = for %{pid: pid, permits: 1} <- Pool.holders(__MODULE__), do: pid
    for partition <- partitions, do: :ok = :sys.resume(partition)
    if Enum.sort(live) == Enum.sort(holders), do: :ok, else: {:error, {:live, length(live), :holders, length(holders)}}
  catch
    :exit, _noproc -> {:error, :restarting}
  end

  defp partitions do
    for n <- 1..2, pid = Process.whereis(:"#{__MODULE__}.Partition#{n}"), do: pid
  end

  defp links(supervisor) do
    [links: links, dictionary: dictionary] = Process.info(supervisor, [:links, :dictionary]) || exit(:noproc)
    [above | _] = dictionary[:"$ancestors"]
    above = if is_atom(above), do: Process.whereis(above), else: above
    for pid <- links, is_pid(pid) and pid != above, do: pid
  end
end
