defmodule Penstock.Stress.Soak.Gates do
  # The gates that live through all of a soak, and what must be true of them at rest. Each named gate
  # has a keeper, which starts a new owner after each kill.
  #
  # The workers of the storms of pools, keys and gates have gates of their own, by the rules of these
  # storms. The workers of `Soak.Worker` have the others.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Pool, RateLimiter}
  alias Penstock.Admission.Keyed
  alias Penstock.Stress.{Keeper, Kids, Survivors, Tally}
  alias Penstock.Stress.Soak.Worker

  # Limits of pools and keys change between 1 and this.
  @most 6
  # A century of debt at the rate of the storm of gates.
  @debt 2_000_000_000

  @type t :: %{atom => term}

  # Starts all gates. Returns what workers share.
  def start do
    common = %{limit: @most, faults: :ets.new(:faults, [:public, :set]), stop: :atomics.new(1, []), parent: self()}
    pool = Map.merge(common, %{pool: name(:pool), peers: table(:peers), kids: table(:pool_kids), tally: Tally.new()})

    keyed =
      common
      |> Map.merge(%{pool: name(:keyed), kids: table(:keyed_kids), inside: bag()})
      |> Map.merge(%{tasks: name(:keyed_tasks), children: name(:keyed_children), plain: name(:keyed_plain)})

    gate =
      common
      |> Map.merge(%{gate: name(:gate), bans: name(:bans), rates: name(:rates), keyed: name(:gate_keyed)})
      |> Map.merge(%{pool: name(:gate_pool), pool_limit: @most, key_limit: 3, kids: table(:gate_kids), inside: bag()})
      |> Map.merge(%{tasks: name(:gate_tasks), children: name(:gate_children), plain: name(:gate_plain)})
      |> Map.merge(%{asked: :counters.new(1, []), decisions: :infinity})

    mixed =
      common
      |> Map.merge(%{pool: name(:mixed_pool), keyed: name(:mixed_keyed), rates: name(:mixed_rates)})
      |> Map.merge(%{bans: name(:mixed_bans), gate: name(:mixed_gate), kids: table(:mixed_kids)})
      |> Map.merge(%{tasks: name(:mixed_tasks), children: name(:mixed_children), plain: name(:mixed_plain)})
      |> Map.merge(%{server: name(:server), done: :counters.new(Worker.acts(), [:write_concurrency])})

    %{pool: pool, keyed: keyed, gate: gate, mixed: mixed, keepers: keepers(pool, keyed, gate, mixed)}
  end

  defp name(part), do: Module.concat(__MODULE__, part)
  defp table(name), do: :ets.new(name, [:public, :set, write_concurrency: true])
  defp bag, do: :ets.new(:inside, [:public, :bag, write_concurrency: true])

  defp keepers(pool, keyed, gate, mixed) do
    keepers =
      for {opts, module} <- [
            {[name: pool.pool, limit: @most, max_waiting: 1_000], Pool},
            # Restarts take no permit beyond the limit, so that the work can check the limit.
            {[name: keyed.pool, limit: @most, max_overdraft: 0, max_keys: 10_000, max_waiting: 1_000], KeyedPool},
            {[name: gate.bans], Ban},
            {[name: gate.rates, limit: 1_000, per: 1, burst: 1_000], RateLimiter},
            {[name: gate.keyed, limit: gate.key_limit, max_overdraft: 0], KeyedPool},
            {[name: gate.pool, limit: @most, max_overdraft: 0], Pool},
            {[name: gate.gate, limits: [gate.bans, gate.rates, gate.keyed, gate.pool]], Gate},
            {[name: mixed.pool, limit: @most, max_waiting: 100], Pool},
            {[name: mixed.keyed, limit: @most, max_keys: 100, max_waiting: 100], KeyedPool},
            {[name: mixed.rates, limit: 100, per: 10, max_keys: 1_000], RateLimiter},
            {[name: mixed.bans, failures: 3, within: 1_000, ban_for: 20, max_keys: 1_000, max_bans: 100], Ban},
            {[name: mixed.gate, limits: [mixed.bans, mixed.rates, mixed.keyed, mixed.pool]], Gate}
          ],
          do: {opts[:name], Keeper.start(opts, module)}

    :ok = Ban.ban(gate.bans, "banned", :infinity)
    keepers
  end

  # Starts what ends at each rest: the supervisors, the server, and the holder of the key that the storm
  # of gates never gets.
  def begin(gates) do
    # The largest debt runs down in 36 minutes, so it is made again at each begin.
    RateLimiter.reset(gates.gate.rates, "spent")
    {:deny, _ms} = RateLimiter.charge(gates.gate.rates, "spent", @debt)

    tops = for lane <- [:keyed, :gate, :mixed], do: Kids.start_supervisors(top_gate(gates[lane]), gates[lane])
    server = {Penstock.Stress.Soak.Server, name: gates.mixed.server}
    {:ok, servers} = Supervisor.start_link([server], strategy: :one_for_one, max_restarts: 100_000_000)
    [keep_key(gates.gate), servers | tops]
  end

  defp top_gate(%{gate: gate}), do: gate
  defp top_gate(%{pool: pool}), do: pool

  defp keep_key(gate) do
    parent = self()

    pid =
      spawn_link(fn ->
        :ok = KeyedPool.try_acquire(gate.keyed, "kept", gate.key_limit)
        send(parent, {:kept, self()})
        receive do: (:never -> :ok)
      end)

    receive do: ({:kept, ^pid} -> pid)
  end

  # Changes the limit of a pool or of the keys of a keyed pool, or the rate of a limiter.
  def resize(gates) do
    limit = :rand.uniform(@most)

    case :rand.uniform(5) do
      1 -> Pool.update(gates.pool.pool, limit: limit)
      2 -> KeyedPool.update(gates.keyed.pool, limit: limit)
      3 -> Pool.update(gates.gate.pool, limit: limit)
      4 -> Pool.update(gates.mixed.pool, limit: limit, max_waiting: Enum.random([0, 3, 100]))
      5 -> RateLimiter.update(gates.mixed.rates, limit: 50 * limit, per: 10, burst: Enum.random([1, 10, 1_000]))
    end
  end

  # Undoes all changes of limits. A keeper that starts an owner now sets the same limits.
  def restore(gates) do
    for {pool, max_waiting} <- [{gates.pool.pool, 1_000}, {gates.mixed.pool, 100}],
        do: :ok = Pool.update(pool, limit: @most, max_waiting: max_waiting)

    :ok = Pool.update(gates.gate.pool, limit: @most)
    :ok = KeyedPool.update(gates.keyed.pool, limit: @most)
  end

  def most, do: @most

  # Ends the children that stay. A child that was spawned just now enters its table a little later.
  def end_kids(gates, lanes) do
    for lane <- lanes, row <- :ets.tab2list(gates[lane].kids) do
      Process.exit(elem(row, 0), :kill)
      :ets.delete(gates[lane].kids, elem(row, 0))
    end
  end

  # Returns `:ok` once no permit is held, no process waits, and no key has a place.
  def empty(gates) do
    Survivors.until(fn ->
      end_kids(gates, [:pool, :keyed, :gate, :mixed])
      Enum.find_value(pools(gates), :ok, &wrong_pool/1) |> then(&if(&1 == :ok, do: empty_keyed(gates), else: &1))
    end)
  end

  # Streams behind a limiter hold permits of the unlimited pool.
  defp pools(gates), do: [%Pool{ref: Keyed.unlimited_pool()} | named_pools(gates)]
  def named_pools(gates), do: [gates.pool.pool, gates.gate.pool, gates.mixed.pool]
  def keyed_pools(gates), do: [gates.keyed.pool, gates.gate.keyed, gates.mixed.keyed]
  defp empty_keyed(gates), do: Enum.find_value(keyed_pools(gates), :ok, &wrong_keyed/1)

  # Returns `:ok` if these two have neither holders nor waiters now.
  def empty(pool, keyed), do: wrong_pool(pool) || wrong_keyed(keyed) || :ok

  defp wrong_pool(pool) do
    info = Pool.info(pool)
    if {info.in_use, info.holders, info.waiting} != {0, 0, 0}, do: {:error, {pool, info, Pool.holders(pool)}}
  end

  defp wrong_keyed(pool) do
    info = KeyedPool.info(pool)
    if {info.keys, info.in_use, info.waiting} != {0, 0, 0}, do: {:error, {pool, info, KeyedPool.top(pool)}}
  end

  # What must have grown since the last rest: requests admitted by each gate, permits that came back by a
  # death, and successes of each act of the mixed workers.
  def progress(gates) do
    pools = for pool <- pools(gates), do: {{:acquired, pool}, Pool.info(pool).acquired}
    keyed = for pool <- keyed_pools(gates), do: {{:acquired, pool}, KeyedPool.info(pool).acquired}
    died = for pool <- named_pools(gates), do: {{:released_by_exit, pool}, Pool.info(pool).released_by_exit}
    died_keyed = for pool <- keyed_pools(gates), do: {{:released_by_exit, pool}, KeyedPool.info(pool).released_by_exit}
    lanes = [gates.gate, gates.mixed]
    admitted = for %{gate: gate} <- lanes, do: {{:admitted, gate}, Gate.info(gate).admitted}
    allowed = for %{rates: rates} <- lanes, do: {{:allowed, rates}, RateLimiter.info(rates).allowed}
    acts = for act <- 1..Worker.acts(), do: {{:act, act}, :counters.get(gates.mixed.done, act)}
    Enum.concat([pools, keyed, died, died_keyed, admitted, allowed, acts]) |> Map.new()
  end

  # Returns the calls that the workers of gates have counted.
  def calls(gates) do
    :counters.get(gates.gate.asked, 1) + Enum.sum(for act <- 1..Worker.acts(), do: :counters.get(gates.mixed.done, act))
  end

  # Returns `:ok` while each keeper lives. The calling process traps exits.
  def kept(gates) do
    case for {name, keeper} <- gates.keepers, not Process.alive?(keeper), do: {name, reason(keeper)} do
      [] -> :ok
      dead -> {:error, {:keepers_died, dead}}
    end
  end

  defp reason(keeper) do
    receive do: ({:EXIT, ^keeper, reason} -> reason), after: (0 -> :unknown)
  end

  def faults(gates) do
    case :ets.tab2list(gates.pool.faults) do
      [] -> :ok
      faults -> {:error, {:faults, Enum.take(faults, 5)}}
    end
  end

  def stop(gates), do: gates.keepers |> Enum.reverse() |> Enum.each(fn {_name, keeper} -> Keeper.stop(keeper) end)
end
