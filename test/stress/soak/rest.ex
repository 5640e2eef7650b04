defmodule Penstock.Stress.Soak.Rest do
  # Lets a storm come to rest, and compares. The workers live on: they end what they are doing, and stop.
  # Then the counts must be those of the living holders and waiters. After they have given back, and after
  # their deaths, nothing may be left.
  @moduledoc false

  alias Penstock.{Gate, KeyedPool, Mailbox, Native, Pool, RateLimiter}
  alias Penstock.Stress.{Crashes, KeyedStorm, Survivors}
  alias Penstock.Stress.Soak.{Fill, Gates, Worker}

  # In ms. A busy machine may give the VM little time.
  @patience 60_000

  # Processes of Penstock that serve the whole node.
  @own [Penstock.Node.Janitor, Penstock.Node.Reaper, Penstock.VM.Sampler, Penstock.Telemetry.Reporter]
  def own, do: @own

  # `before` is the progress at the end of the last rest. Returns that at the end of this one. The check
  # comes before the rest itself acquires.
  def come_to_rest(gates, workers, [kept, servers | tops], before) do
    :atomics.put(gates.pool.stop, 1, 1)
    Gates.restore(gates)
    for top <- tops, do: Supervisor.stop(top)
    keyed = for {{:keyed, _at}, worker} <- workers, do: worker
    mixed = for {{:mixed, _at}, pid} <- workers, do: pid
    asking = for {{:gate, _at}, pid} <- workers, do: pid

    with :ok <- settle(gates, fn -> stopped(gates, mixed, asking) end),
         :ok <- progress(before, Gates.progress(gates)),
         :ok <- Survivors.check(gates.pool, Gates.most()),
         :ok <- KeyedStorm.check(gates.keyed, keyed),
         :ok <- Survivors.until(fn -> mailbox(gates.mixed.server) end),
         :ok <- settle(gates, fn -> key_kept(gates.gate, kept) end),
         :ok <- Survivors.until(fn -> charged(gates.gate) end),
         # A worker that was killed just before the rest may have drained the pool after the last reopening.
         :ok = Pool.reopen(gates.mixed.pool),
         :ok <- settle(gates, fn -> Gates.empty(gates.mixed.pool, gates.mixed.keyed) end),
         :ok <- hold(gates.mixed, mixed),
         :ok <- end_all(workers, kept, servers, gates),
         :ok <- Gates.faults(gates),
         :ok <- Gates.empty(gates),
         :ok <- fill(gates),
         :ok <- Gates.empty(gates),
         :ok <- Gates.kept(gates),
         :ok <- Crashes.check(),
         :ok <- Survivors.until(fn -> own_alive() end),
         do: {:ok, Gates.progress(gates)}
  end

  def pid({pid, _me}), do: pid
  def pid(pid), do: pid

  # A child that was spawned just before the rest enters its table late. So each look ends the children that
  # stay. The check of the pool compares those of the pool, and ends them.
  defp settle(gates, look) do
    Survivors.until(fn ->
      Gates.end_kids(gates, [:keyed, :gate, :mixed])
      look.()
    end)
  end

  # The workers of gates end. Those of pools and keys have checks of their own.
  defp stopped(gates, mixed, asking) do
    # A worker that was killed may have drained the pool before it died.
    :ok = Pool.reopen(gates.mixed.pool)
    busy = Enum.filter(asking, &Process.alive?/1) ++ Enum.reject(mixed, &at_rest?/1)
    if busy == [], do: :ok, else: {:error, {:not_at_rest, Enum.map(busy, &{&1, Process.info(&1, :current_stacktrace)})}}
  end

  # A dead worker is at rest too.
  defp at_rest?(pid) do
    case Process.info(pid, [:status, :current_function]) do
      [status: :waiting, current_function: {Worker, :stopped, _}] -> true
      nil -> true
      _busy -> false
    end
  end

  # A server that the storm has killed starts again.
  defp mailbox(server) do
    pid = Process.whereis(server)
    info = if pid, do: Mailbox.info(pid)

    cond do
      info == nil -> {:error, :no_server}
      {info.in_use, info.held, info.waiting} != {0, 0, 0} -> {:error, {:mailbox, info}}
      true -> with {:ok, :rest} <- Mailbox.call(pid, :rest, call_timeout: @patience), do: :ok
    end
  rescue
    # The server has died since, or starts and has no mailbox yet.
    error in ArgumentError -> {:error, error}
  catch
    :exit, {reason, _call} when reason in [:noproc, :killed] -> {:error, reason}
  end

  # The workers of gates have ended. Only the holder of one key is left.
  defp key_kept(gate, kept) do
    info = KeyedPool.info(gate.keyed)
    held = for holder <- KeyedPool.holders(gate.keyed, "kept"), do: {holder.pid, holder.permits}
    pool = Pool.info(gate.pool)

    if {info.keys, info.in_use, info.waiting, held} == {1, gate.key_limit, 0, [{kept, gate.key_limit}]} and
         {pool.in_use, pool.holders, pool.waiting} == {0, 0, 0},
       do: :ok,
       else: {:error, {:key_kept, info, held, pool}}
  end

  # Each admitted request charged one hit, and no other did. A killed caller has an answer that it did not
  # count, so the gate has counted at least as many as the callers have.
  defp charged(gate) do
    %{admitted: admitted, rejected: rejected} = Gate.info(gate.gate)
    %{allowed: allowed} = RateLimiter.info(gate.rates)
    asked = :counters.get(gate.asked, 1)

    cond do
      allowed != admitted -> {:error, {:charged, allowed, :admitted, admitted}}
      admitted + Enum.sum(Map.values(rejected)) < asked -> {:error, {:counted, admitted, rejected, :asked, asked}}
      true -> :ok
    end
  end

  ## The mixed workers hold

  # Lets the workers take what they get, compares, and lets them give it back.
  defp hold(mixed, workers) do
    asked = for pid <- workers, Process.alive?(pid), do: {pid, ask(pid, {:hold, self()}, :holds)}
    held = for {pid, {:holds, held}} <- asked, do: {pid, held}

    with :ok <- Survivors.until(fn -> held(mixed, held) end) do
      stuck =
        for {pid, _held} <- held,
            answer = ask(pid, {:give_back, self()}, :gave_back),
            answer != :gave_back,
            do: {pid, answer}

      if stuck == [], do: :ok, else: {:error, {:not_given_back, stuck}}
    end
  end

  defp ask(pid, message, answer) do
    monitor = Process.monitor(pid)
    send(pid, message)

    received =
      receive do
        {^answer, ^pid, what} -> {answer, what}
        {^answer, ^pid} -> answer
        {:DOWN, ^monitor, _, _, reason} -> {:died, reason}
      after
        @patience -> :no_answer
      end

    Process.demonitor(monitor, [:flush])
    received
  end

  defp held(mixed, held) do
    # One permit of the pool, and one of the key, come with each gate.
    permits = for {pid, held} <- held, sum = permits(held), sum > 0, into: %{}, do: {pid, sum}
    keys = for {pid, held} <- held, {kind, key} <- held, kind in [:keyed, :gate], do: {key, pid}
    pool = Pool.info(mixed.pool)
    keyed = KeyedPool.info(mixed.keyed)
    holders = Map.new(Pool.holders(mixed.pool), &{&1.pid, &1.permits})
    names = keys |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

    cond do
      held == [] ->
        {:error, :no_worker_lives}

      permits == %{} or keys == [] ->
        {:error, {:nothing_held, held}}

      holders != permits ->
        {:error, {:holders, holders, permits}}

      {pool.in_use, pool.holders, pool.waiting} != {Enum.sum(Map.values(permits)), map_size(permits), 0} ->
        {:error, {:in_use, pool, permits}}

      {keyed.in_use, keyed.keys, keyed.waiting} != {length(keys), length(names), 0} ->
        {:error, {:keyed, keyed, keys}}

      wrong = Enum.find(names, &wrong_key?(mixed, &1, keys)) ->
        {:error, {:key, wrong, keys}}

      true ->
        :ok
    end
  end

  defp permits(held),
    do: Enum.sum(for {kind, what} <- held, kind in [:pool, :gate], do: if(kind == :pool, do: what, else: 1))

  defp wrong_key?(mixed, key, keys) do
    holders = Map.new(KeyedPool.holders(mixed.keyed, key), &{&1.pid, &1.permits})
    holders != Enum.frequencies(for {^key, pid} <- keys, do: pid)
  end

  ## The end of all workers

  defp end_all(workers, kept, servers, gates) do
    for {_at, worker} <- workers, do: Process.exit(pid(worker), :kill)
    Process.exit(kept, :kill)
    Supervisor.stop(servers)
    # During the storm, a call that finds no module would fail: the module that it loads may be deleted
    # before the call goes on.
    reload()
    # What is left of the dead: marks of those who were inside, and messages to the parent.
    for lane <- [:keyed, :gate], do: :ets.delete_all_objects(gates[lane].inside)
    :ets.delete_all_objects(gates.pool.peers)
    with :ok <- Gates.kept(gates), do: flush()
  end

  # Unloads the module of the NIF, and loads it again.
  defp reload do
    :code.purge(Native)
    :code.delete(Native)
    :code.purge(Native)
    {:module, Native} = Code.ensure_loaded(Native)
  end

  # Also fills a pool without a name, whose memory the pools of the mixed workers have used.
  defp fill(gates) do
    with nil <- Enum.find_value([Pool.new(limit: 3) | Gates.named_pools(gates)], &wrong(Fill.pool(&1))),
         nil <- Enum.find_value(Gates.keyed_pools(gates), &wrong(Fill.keyed(&1))),
         do: :ok
  end

  defp wrong(:ok), do: nil
  defp wrong(error), do: error

  defp progress(before, now) do
    case for {what, n} <- now, n <= before[what], do: {what, n} do
      [] -> :ok
      still -> {:error, {:no_progress, still}}
    end
  end

  defp own_alive do
    case for name <- @own, Process.whereis(name) == nil, do: name do
      [] -> :ok
      missing -> {:error, {:missing, missing}}
    end
  end

  defp flush do
    receive do
      _message -> flush()
    after
      0 -> :ok
    end
  end
end
