defmodule Penstock.Stress.GateStorm do
  # Kills callers, children, supervisors and owners at random instants, while four processes ask a
  # gate of a ban, a limiter, a keyed pool and a pool, which each of them refuses in turn. At the end
  # no permit or key may be left, and the limiter must have charged exactly the admitted work.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Native, Pool, RateLimiter}
  alias Penstock.Stress.{Crashes, GateWorker, Keeper, Kids, Round, Survivors}

  @askers 4
  @longest_pause 20_000
  @pool_limit 6
  @key_limit 3
  # A century of debt at the limiter's rate.
  @debt 2_000_000_000
  @owned [:bans, :rates, :keyed, :pool, :gate]
  @reasons [:banned, :rate_limited, :key_full, :full]

  @victims [asker: 40, kid: 30, owner: 20, front: 5]
           |> Enum.flat_map(fn {victim, share} -> List.duplicate(victim, share) end)
           |> List.to_tuple()

  def run(seed, decisions), do: Round.run(fn -> storm(seed, decisions) end)

  defp storm(seed, decisions) do
    Process.flag(:trap_exit, true)
    :rand.seed(:exsss, {seed, 0, 3})
    shared = shared(decisions)
    keepers = start_limits(shared)
    held = keep_key(shared)
    top = Kids.start_supervisors(shared.gate, shared)
    askers = List.to_tuple(for _ <- 1..@askers, do: asker(shared))

    {askers, killed} = kill_some(shared, askers, %{})
    for asker <- Tuple.to_list(askers), do: ended(asker)
    Supervisor.stop(top)
    for {kid} <- :ets.tab2list(shared.kids), do: Process.exit(kid, :kill)
    Process.exit(held, :kill)

    with [] <- :ets.tab2list(shared.faults),
         :ok <- Survivors.until(fn -> empty(shared) end),
         :ok <- charged(shared),
         :ok <- Crashes.check() do
      for {victim, n} <- Enum.sort(killed), do: IO.puts("  #{victim}: #{n} kills")
      IO.puts("  #{inspect(Gate.info(shared.gate).rejected)} rejected")
      keepers |> Enum.reverse() |> Enum.each(&Keeper.stop/1)
      {:ok, :counters.get(shared.asked, 1)}
    else
      [_ | _] = faults -> {:error, {:faults, Enum.take(faults, 5)}}
      error -> error
    end
  end

  defp shared(decisions) do
    names = for part <- @owned ++ [:children, :plain, :tasks], into: %{}, do: {part, Module.concat(__MODULE__, part)}

    Map.merge(names, %{
      decisions: decisions,
      stop: :atomics.new(1, []),
      asked: :counters.new(1, []),
      pool_limit: @pool_limit,
      key_limit: @key_limit,
      kids: :ets.new(:kids, [:public, :set, write_concurrency: true]),
      inside: :ets.new(:inside, [:public, :bag, write_concurrency: true]),
      faults: :ets.new(:faults, [:public, :set])
    })
  end

  defp start_limits(shared) do
    limits = [shared.bans, shared.rates, shared.keyed, shared.pool]

    keepers = [
      Keeper.start([name: shared.bans], Ban),
      Keeper.start([name: shared.rates, limit: 1_000, per: 1, burst: 1_000], RateLimiter),
      # Restarts take no permit beyond the limit, so that the work can check the limit.
      Keeper.start([name: shared.keyed, limit: @key_limit, max_overdraft: 0], KeyedPool),
      Keeper.start([name: shared.pool, limit: @pool_limit, max_overdraft: 0], Pool),
      Keeper.start([name: shared.gate, limits: limits], Gate)
    ]

    :ok = Ban.ban(shared.bans, "banned", :infinity)
    {:deny, _ms} = RateLimiter.charge(shared.rates, "spent", @debt)
    keepers
  end

  # Holds all permits of a key for the whole storm.
  defp keep_key(shared) do
    parent = self()

    pid =
      spawn_link(fn ->
        :ok = KeyedPool.try_acquire(shared.keyed, "kept", @key_limit)
        send(parent, {:kept, self()})
        receive do: (:never -> :ok)
      end)

    receive do: ({:kept, ^pid} -> pid)
  end

  defp asker(shared) do
    seed = :rand.uniform(1_000_000_000)
    spawn(fn -> GateWorker.ask(shared, seed) end)
  end

  defp ended(asker) do
    monitor = Process.monitor(asker)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  ## Kills

  defp kill_some(shared, askers, killed) do
    if :counters.get(shared.asked, 1) >= shared.decisions do
      {askers, killed}
    else
      pause(:rand.uniform(@longest_pause))
      victim = elem(@victims, :rand.uniform(tuple_size(@victims)) - 1)
      killed = if kill(find(victim, shared, askers)), do: Map.update(killed, victim, 1, &(&1 + 1)), else: killed
      kill_some(shared, renew(askers, shared), killed)
    end
  end

  defp find(:asker, _shared, askers), do: elem(askers, :rand.uniform(@askers) - 1)
  defp find(:owner, shared, _askers), do: Native.gate_owner(shared[Enum.random(@owned)])
  defp find(:front, shared, _askers), do: Process.whereis(shared[Enum.random([:children, :plain, :tasks])])

  defp find(:kid, shared, _askers) do
    with pid when is_pid(pid) <- :ets.first(shared.kids) do
      :ets.delete(shared.kids, pid)
      pid
    end
  end

  defp kill(pid) when is_pid(pid) do
    alive? = Process.alive?(pid)
    Process.exit(pid, :kill)
    alive?
  end

  defp kill(_no_victim), do: false

  defp renew(askers, shared) do
    Enum.reduce(0..(@askers - 1), askers, fn at, askers ->
      if Process.alive?(elem(askers, at)), do: askers, else: put_elem(askers, at, asker(shared))
    end)
  end

  defp pause(0), do: :ok
  defp pause(n), do: pause(n - 1)

  ## What is left

  defp empty(shared) do
    pool = Pool.info(shared.pool)
    keyed = KeyedPool.info(shared.keyed)

    if {pool.in_use, pool.holders, pool.waiting, keyed.keys, keyed.in_use, keyed.waiting} == {0, 0, 0, 0, 0, 0} and
         KeyedPool.top(shared.keyed) == [],
       do: :ok,
       else: {:error, {:not_empty, pool, keyed}}
  end

  # Each admitted request charged one hit, and no other did. A killed caller has an answer that it
  # did not count, so the gate has counted at least as many as the callers have.
  defp charged(shared) do
    %{admitted: admitted, rejected: rejected} = Gate.info(shared.gate)
    %{allowed: allowed} = RateLimiter.info(shared.rates)
    asked = :counters.get(shared.asked, 1)

    cond do
      allowed != admitted -> {:error, {:charged, allowed, :admitted, admitted}}
      admitted + Enum.sum(Map.values(rejected)) < asked -> {:error, {:counted, admitted, rejected, :asked, asked}}
      missing = Enum.find(@reasons, &(Map.get(rejected, &1, 0) == 0)) -> {:error, {:never_refused, missing}}
      true -> :ok
    end
  end
end
