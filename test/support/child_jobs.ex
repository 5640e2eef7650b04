defmodule Penstock.ChildJobs do
  # What `Penstock.ChildVM` runs. Each returns what its test asserts on.
  @moduledoc false

  alias Penstock.{Ban, Garbage, Native, Pool, RateLimiter, Stalls}

  @never &__MODULE__.never/0

  def never, do: receive(do: (:never -> :ok))

  defp counts(pool), do: pool |> Pool.info() |> Map.take([:in_use, :holders, :waiting, :limit, :status])

  defp mailbox, do: elem(Process.info(self(), :messages), 1)

  # A pool with a name and one without.
  defp pools(opts) do
    {:ok, _owner} = Pool.start_link([name: MyApp.Jobs] ++ opts)
    [MyApp.Jobs, Pool.new(opts)]
  end

  ## SystemLimitError

  @doc "Spawns in a VM that has no place for another process."
  def system_limit do
    pools = pools(limit: 10)
    for pool <- pools, do: :ok = Pool.acquire(pool, permits: 2)
    fillers = fill([])

    refused =
      for pool <- pools,
          function <- [:spawn, :spawn_link, :spawn_monitor],
          opts <- [[], [timeout: 5], [permits: 3], [timeout: 5, permits: 3]] do
        before = counts(pool)
        {outcome(fn -> apply(Penstock, function, [pool, @never, opts]) end), counts(pool) == before, mailbox()}
      end

    links = elem(Process.info(self(), :links), 1) -- for(pool <- pools, do: Pool.info(pool).owner)
    Enum.each(fillers, &Process.exit(&1, :kill))
    # Room comes back as the VM buries them.
    later = for pool <- pools, do: spawn_at_last(pool, 1_000)
    %{refused: refused, links: links, later: later}
  end

  defp fill(pids) do
    fill([spawn(@never) | pids])
  rescue
    SystemLimitError -> pids
  end

  defp outcome(fun) do
    fun.()
  rescue
    error -> error.__struct__
  end

  defp spawn_at_last(pool, tries) do
    case outcome(fn -> Penstock.spawn(pool, @never, permits: 8) end) do
      SystemLimitError when tries > 0 ->
        receive after: (5 -> :ok)
        spawn_at_last(pool, tries - 1)

      {:ok, pid} when is_pid(pid) ->
        {:ok, counts(pool).in_use}
    end
  end

  ## An application that ends

  defmodule Drained do
    @moduledoc false
    use Application

    @impl true
    def start(_type, _args) do
      Supervisor.start_link(
        [
          {Pool, name: MyApp.Jobs, limit: 10},
          {Penstock.DynamicSupervisor, name: MyApp.Sessions, gate: MyApp.Jobs},
          {Penstock.Drainer, pools: [MyApp.Jobs], shutdown: 10_000}
        ],
        strategy: :one_for_one
      )
    end
  end

  @doc "Ends this VM while a job runs, which ends when nobody is admitted any more."
  def drained_application(how) do
    :ok = :application.load({:application, :drained, [mod: {Drained, []}, applications: [:penstock]]})
    :ok = Application.start(:drained)

    {:ok, _pid} =
      Penstock.spawn(MyApp.Jobs, fn ->
        ask_until(fn -> Penstock.Pool.info(MyApp.Jobs).status == :draining end)
        IO.puts("the last job is done")
      end)

    # Not as it begins: Elixir asks its own application for something when the script has returned.
    spawn(fn ->
      ask_until(fn -> match?({:started, _}, :init.get_status()) end)

      case how do
        :stop -> System.stop(0)
        :sigterm -> System.cmd("kill", ["-TERM", System.pid()])
      end
    end)
  end

  ## Deadlines

  @doc "Processes that all run out of time at once, in a VM of one scheduler: how many were killed, and whether others ran."
  def overdue(count) do
    pool = Pool.new(limit: :infinity)
    parent = self()

    # The witness is a process of its own, of the same priority as the others.
    witness = spawn_link(fn -> witness(parent, 0) end)

    monitors =
      for _ <- 1..count do
        {:ok, {_pid, monitor}} = Penstock.spawn_monitor(pool, fn -> receive(do: (:never -> :ok)) end, max_runtime: 100)
        monitor
      end

    for monitor <- monitors, do: receive(do: ({:DOWN, ^monitor, _, _, :killed} -> :ok))
    send(witness, :how_often)
    ran = receive(do: ({:ran, times} -> times))
    :ok = Pool.acquire(pool)
    %{killed: Pool.info(pool).killed, witness: ran > 0}
  end

  defp witness(parent, times) do
    receive do
      :how_often -> send(parent, {:ran, times})
    after
      1 -> witness(parent, times + 1)
    end
  end

  ## Garbage

  @limiter MyApp.Limiter
  @ban MyApp.Ban

  @doc "Every argument of every entry point as every kind of term, all others valid; what was answered that must not be."
  def garbage do
    [name, %Pool{ref: ref}] = pools = pools(limit: 10)
    for pool <- pools, do: :ok = Pool.acquire(pool, permits: 2)
    {:ok, _owner} = RateLimiter.start_link(name: @limiter, limit: 1, per: 1_000, clock: :manual)
    {:ok, _owner} = Ban.start_link(name: @ban, clock: :manual)
    before = Enum.map(pools, &counts/1)

    wrong =
      for gate <- [name, ref],
          {function, args} <- calls(gate, Native.pool_info(gate).instance),
          {kind, position} <- Enum.with_index(Keyword.keys(args)),
          value <- bad(kind),
          answer = answer(function, List.replace_at(Keyword.values(args), position, value)),
          answer not in allowed(function, kind, value) do
        {function, kind, value, answer}
      end

    %{wrong: Enum.map(wrong, &inspect/1), unchanged: Enum.map(pools, &counts/1) == before, mailbox: mailbox()}
  end

  @doc "The functions that `garbage/0` knows the arguments of."
  def known_calls, do: for({function, args} <- calls(:gate, 0), do: {function, length(args)}) |> Enum.sort()

  defp calls(gate, instance) do
    [
      bounds: [],
      pool_try_one: [gate: gate, self: self()],
      pool_try: [gate: gate, permits: 1],
      pool_take: [gate: gate, permits: 1],
      pool_release_one: [gate: gate, self: self()],
      pool_release: [gate: gate, permits: 1],
      pool_transfer: [gate: gate, pid: self(), permits: 1],
      pool_park: [gate: gate, kind: :free, permits: 1, ref: make_ref()],
      pool_release: [gate: gate, instance: instance, permits: 1],
      pool_ask: [gate: gate, permits: 1, wait: 0],
      pool_recall: [gate: gate, ref: make_ref()],
      waits_due: [place: 0],
      pool_cancel: [gate: gate, instance: instance, token: 1],
      pool_withdraw: [gate: gate, instance: instance, token: 1],
      run_try: [gate: gate, permits: 1],
      run_take: [gate: gate, permits: 1],
      run_take_one: [gate: gate, self: self()],
      run_end_one: [gate: gate, self: self()],
      run_end: [gate: gate, instance: instance, permits: 1],
      spawn_try: [gate: gate, permits: 1],
      spawn_take: [gate: gate, permits: 1],
      spawn_offer: [gate: gate, instance: instance, permits: 1],
      spawn_hand_over: [gate: gate, offer: 1, pid: self()],
      spawn_adopt: [gate: gate, offer: 1],
      spawn_adopt: [gate: gate, offer: 1, pid: self()],
      spawn_retract: [gate: gate, offer: 1],
      spawn_end: [gate: gate, offer: 1],
      spawn_ended: [gate: gate, pid: self()],
      start_claim: [gate: gate, offer: 1, pid: self()],
      start_entrust: [gate: gate, instance: instance, pid: self(), permits: 1],
      restart_take: [gate: gate, permits: 1, from: 0],
      pool_start: [name: MyApp.Garbage, pid: self(), pool_settings: settings(:pool_settings)],
      pool_new: [pool_settings: settings(:pool_settings)],
      gate_close: [gate: gate, pid: self()],
      pool_update: [gate: gate, limit_or_keep: :keep, max_waiting_or_keep: :keep],
      pool_drain: [gate: gate, ref: make_ref()],
      pool_reopen: [gate: gate],
      gate_kind: [gate: gate],
      gate_owner: [gate: gate],
      gate_names: [position: 0],
      gate_known: [gate: gate],
      pools_made: [],
      pool_info: [gate: gate],
      pool_held: [gate: gate, instance: instance],
      pool_census: [gate: gate, instance: instance, position: 0],
      work_ms: [gate: gate, pid: self()],
      pool_holders: [gate: gate, instance: instance, position: 0, now: nil, age: 0],
      janitor_register: [],
      janitor_settle: [],
      deadline_set: [gate: gate, offer: 1, ms: 1_000_000],
      deadline_give: [gate: gate, instance: instance, pid: self(), ms: 1_000_000],
      deadline_end: [],
      deadline_due: [],
      deadline_rest: [],
      reaper_register: [],
      rate_start: [name: MyApp.Rated, pid: self(), rate_settings: settings(:rate_settings)],
      rate_hit: [limiter: @limiter],
      rate_hit: [limiter: @limiter, key: :key, permits: 1, measured: :measured],
      rate_hit_all: [hits: [{@limiter, :key, 1}]],
      rate_peek: [limiter: @limiter, key: :key, measured: :not_measured],
      rate_reserve: [limiter: @limiter, key: :key, permits: 1, wait: 0, measured: :measured],
      rate_charge: [limiter: @limiter, key: :key, permits: 1, measured: :measured],
      rate_refund: [limiter: @limiter, key: :key, permits: 1, measured: :measured],
      rate_pause: [limiter: @limiter, key: :key, pause: 1, measured: :measured],
      rate_reset: [limiter: @limiter, key: :key, measured: :measured],
      rate_update: [limiter: @limiter, permits_or_keep: 1, per_or_keep: :keep, permits_or_keep: 1, progress: nil],
      rate_advance: [limiter: @limiter, place: 1],
      rate_info: [limiter: @limiter],
      rate_keys: [limiter: @limiter, place: 0],
      ban_start: [name: MyApp.Banned, pid: self(), ban_settings: settings(:ban_settings)],
      ban_check: [ban: @ban, key: :key, measured: :measured],
      ban_record: [ban: @ban, key: :key, measured: :not_measured],
      ban_put: [
        ban: @ban,
        key: :key,
        permits_or_infinity: 1,
        reason: :erlang.term_to_binary(:manual),
        measured: :measured
      ],
      ban_remove: [ban: @ban, key: :key, measured: :measured],
      ban_list: [ban: @ban, place: 0],
      ban_count: [ban: @ban, place: 0],
      ban_info: [ban: @ban],
      ban_advance: [ban: @ban, place: 1],
      metered: []
    ]
  end

  # Each field of the settings: its name, its kind, and a valid value.
  @settings %{
    pool_settings: [
      {:limit, :limit, 1},
      {:max_waiting, :max_waiting, 1},
      {:max_overdraft, :overdraft, 1},
      {:held_longer_than, :max_waiting, 1}
    ],
    rate_settings: [
      {:limit, :permits, 1},
      {:per, :per, 1_000},
      {:burst, :permits, 1},
      {:max_keys, :permits, 1},
      {:clock, :clock, :monotonic}
    ],
    ban_settings: [
      {:failures, :permits, 1},
      {:within, :permits, 1},
      {:ban_for, :permits_or_infinity, 1},
      {:escalate, :permits, 1},
      {:max_ban, :permits, 1},
      {:forget_after, :permits, 1},
      {:max_keys, :permits, 1},
      {:max_bans, :permits, 1},
      {:clock, :clock, :monotonic}
    ]
  }
  @settings_kinds Map.keys(@settings)

  defp settings(kind), do: Map.new(@settings[kind], fn {field, _kind, valid} -> {field, valid} end)

  # A key, and what says whether it was measured, may be anything, and so may be where to go on.
  # A `self()` that is no pid is not looked at.
  @anything [:key, :measured, :progress, :reason, :self]
  @century_ms 100 * 31_557_600_000

  @max 0x7FFFFFFF
  @most 0xFFFFFFFFFFFFFFFF

  # Terms that are not of that kind.
  defp bad(kind) when kind in @anything, do: []
  defp bad(kind) when kind in [:limiter, :ban, :clock], do: Garbage.terms()

  # No map, one without a field, or one with a bad field.
  defp bad(kind) when kind in @settings_kinds do
    without = for {field, _kind, _valid} <- @settings[kind], do: Map.delete(settings(kind), field)

    with_bad =
      for {field, field_kind, _valid} <- @settings[kind], value <- bad(field_kind) do
        Map.put(settings(kind), field, value)
      end

    Garbage.terms() ++ without ++ with_bad
  end

  defp bad(:hits), do: Garbage.terms() -- [[]]
  defp bad(:per), do: Enum.reject(Garbage.terms(), &(&1 in 1..@century_ms))
  defp bad(:wait), do: Enum.reject(Garbage.terms(), &(&1 in 0..0xFFFFFFFF or &1 == :infinity))
  defp bad(:pause), do: Enum.reject(Garbage.terms(), &(&1 in 0..0xFFFFFFFF))
  defp bad(:place), do: Enum.reject(Garbage.terms(), &(&1 in 0..@most))
  defp bad(:gate), do: Garbage.terms()
  defp bad(:kind), do: Garbage.terms()
  defp bad(:age), do: Enum.reject(Garbage.terms(), &(&1 in 0..0xFFFFFFFF))
  defp bad(:now), do: Enum.reject(Garbage.terms(), &(&1 in 0..0xFFFFFFFF or &1 == nil))
  defp bad(:instance), do: Enum.reject(Garbage.terms(), &(&1 in [0, 1]))
  defp bad(:token), do: Garbage.terms()
  defp bad(:offer), do: [{1, 1}, {:ok, 1}, {0, 1}, {2, 1}, {1, 1.0}, {:ok, -1}, {1, 1, 1} | Garbage.terms()]
  defp bad(:position), do: Garbage.terms()
  # Any number is accepted, and the permits are taken.
  defp bad(:from), do: Enum.reject(Garbage.terms(), &(&1 in 0..@most))
  defp bad(:permits_or_keep), do: bad(:permits) -- [:keep]
  defp bad(:permits_or_infinity), do: bad(:permits) -- [:infinity]
  defp bad(:per_or_keep), do: bad(:per) -- [:keep]
  defp bad(:permits), do: Enum.reject(Garbage.terms(), &(&1 in 1..@max))
  defp bad(:ms), do: bad(:permits)
  defp bad(:limit), do: Enum.reject(Garbage.terms(), &(&1 in 0..@max or &1 == :infinity))
  defp bad(:overdraft), do: Enum.reject(bad(:limit), &(&1 == :limit))
  defp bad(:limit_or_keep), do: Enum.reject(bad(:limit), &(&1 == :keep))
  defp bad(:max_waiting), do: Enum.reject(Garbage.terms(), &(&1 in 0..@max))
  defp bad(:max_waiting_or_keep), do: Enum.reject(bad(:max_waiting), &(&1 == :keep))
  defp bad(:pid), do: Enum.reject(Garbage.terms(), &(is_pid(&1) and &1 not in Garbage.remote_pids()))
  defp bad(:ref), do: Enum.reject(Garbage.terms(), &is_reference/1)
  defp bad(:name), do: Enum.reject(Garbage.terms(), &is_atom/1)

  defp allowed(:gate_kind, :gate, _), do: [:none]
  defp allowed(:gate_owner, :gate, _), do: [nil]
  defp allowed(:gate_known, :gate, _), do: [:unknown]
  # Any number may be a token: one that names nothing does nothing.
  defp allowed(stop, :token, n) when stop in [:pool_cancel, :pool_withdraw] and n in 0..@most, do: [:too_late]
  defp allowed(function, :offer, n) when n in 0..@most, do: [no_offer(function)]
  # Of a name's pool, the same; a reference has only one.
  defp allowed(function, :offer, {instance, 1}) when instance in [:ok, 0, 1], do: [no_offer(function), :badarg]
  # The one holder is before that position, or after it.
  defp allowed(:pool_census, :position, n) when n in 0..@most,
    do: [{:done, sums(1)}, {:done, sums(0)}]

  defp allowed(:pool_holders, :position, n) when n in 0..@most, do: [{:done, 0, []}, {:done, 0, [{self(), 2, 0}]}]
  defp allowed(:gate_names, :position, n) when n in 0..0xFFFFFFFF, do: [:names]
  defp allowed(_, :gate, _), do: [:no_pool, :badarg]
  defp allowed(_, :limiter, _), do: [:no_limiter]
  defp allowed(_, :ban, _), do: [:no_ban]
  defp allowed(_, _, _), do: [:badarg]

  # Of one holder that acquired once, or of none.
  defp sums(n) do
    none = %{rejected: 0, timed_out: 0, released_by_exit: 0, killed: 0, held_longer_than: 0}
    Map.merge(none, %{holders: n, acquired: n})
  end

  defp no_offer(function) when function in [:spawn_adopt, :start_claim], do: :revoked
  defp no_offer(:spawn_end), do: :not_held
  defp no_offer(_function), do: :ok

  defp answer(function, args) do
    case apply(Native, function, args) do
      # Neither time nor age is what is tested.
      {:done, _now, [{pid, permits, _age}]} -> {:done, 0, [{pid, permits, 0}]}
      {:done, _now, []} -> {:done, 0, []}
      # Which names a piece has depends on the numbers of their atoms.
      {next, names} when function == :gate_names and (is_integer(next) or next == :done) and is_list(names) -> :names
      answer -> answer
    end
  rescue
    _ -> :badarg
  end

  @doc "Calls with random arguments, valid and not, by several processes that are killed as well."
  def chaos(seed, calls) do
    [name, %Pool{ref: ref}] = pools(limit: 10)
    {:ok, _owner} = RateLimiter.start_link(name: @limiter, limit: 1_000, per: 1, max_keys: 10)
    {:ok, _owner} = Ban.start_link(name: @ban, failures: 3, max_keys: 10, max_bans: 5)
    parent = self()

    workers =
      for worker <- 1..4 do
        spawn_monitor(fn ->
          :rand.seed(:exsss, {seed, worker, 0})
          terms = List.to_tuple([name, ref, parent] ++ Garbage.terms())
          # Leaves out deadlines of other processes, which would not know to withdraw them, and
          # the start of limiters and bans of any size.
          functions =
            List.to_tuple(Keyword.drop(calls(name, 1) ++ calls(ref, 0), [:deadline_give, :rate_start, :ban_start]))

          for _ <- 1..calls, do: random_call(functions, terms)
        end)
      end

    for {_, monitor} <- workers, do: receive(do: ({:DOWN, ^monitor, _, _, reason} -> :normal = reason))
    # The places of the janitor and the reaper, which the calls may have stolen, are taken back.
    for name <- [Penstock.Node.Janitor, Penstock.Node.Reaper] do
      robbed = Process.whereis(name)
      Process.exit(robbed, :kill)
      ask_until(fn -> Process.whereis(name) not in [nil, robbed] end)
    end

    # The VM is in order, and new pools work.
    {:ok, _owner} = Pool.start_link(name: MyApp.AfterChaos, limit: 2)

    for pool <- [MyApp.AfterChaos, Pool.new(limit: 2)] do
      {:ok, :ran} = Penstock.run(pool, fn -> :ran end)
      {:ok, _pid} = Penstock.spawn(pool, @never)
      :ok = Pool.acquire(pool)
      {Pool.acquire(pool, timeout: 1), counts(pool).in_use}
    end
  end

  defp random_call(functions, terms) do
    {function, args} = pick(functions)
    # `self()` stays: a forged one would count for a process that knows nothing of it.
    args =
      for {kind, valid} <- args, do: if(kind != :self and :rand.uniform(3) == 1, do: other(kind, terms), else: valid)

    _ = answer(function, args)
    # What came is of no interest, and must not pile up.
    if :rand.uniform(50) == 1, do: flush()
  end

  defp other(kind, terms) when kind in @settings_kinds do
    {field, _kind, _valid} = Enum.random(@settings[kind])
    Enum.random([pick(terms), Map.put(settings(kind), field, pick(terms))])
  end

  defp other(_kind, terms), do: pick(terms)

  defp pick(tuple), do: elem(tuple, :rand.uniform(tuple_size(tuple)) - 1)

  defp flush do
    receive do
      _ -> flush()
    after
      0 -> :ok
    end
  end

  defp ask_until(fun) do
    unless fun.() do
      receive after: (1 -> :ok)
      ask_until(fun)
    end
  end

  ## Reloads

  @doc "What a pool says after each step of unloading and loading the module of the NIF, and how often `run/3` worked on it."
  def reload(kind) do
    pool = Enum.at(pools(limit: 5), if(kind == :named, do: 0, else: 1))
    [killed_before, killed_without_code, killed_after, alive] = for _ <- 1..4, do: holder([pool])

    # Code that is old keeps its NIF until it is purged, so the new code may not load; either is fine, a crash is not.
    load = :code.load_file(Native)
    steps = [loaded_over: in_use(pool)]

    :code.purge(Native)
    kill(killed_before)
    steps = [{:purged, settled(pool, 3)} | steps]

    true = :code.delete(Native)
    :code.purge(Native)
    kill(killed_without_code)
    {:module, Native} = :code.ensure_loaded(Native)
    steps = [{:deleted, settled(pool, 2)} | steps]

    kill(killed_after)
    steps = [{:reloaded, settled(pool, 1)} | steps]
    runs = for _ <- 1..20, do: reload_and_run(pool)
    kill(alive)
    steps = [{:ended, settled(pool, 0)} | steps]
    %{load: load, steps: Enum.reverse(steps), runs: Enum.count(runs, &(&1 == {:ok, 1}))}
  end

  defp reload_and_run(pool) do
    :code.purge(Native)
    true = :code.delete(Native)
    :code.purge(Native)
    {:module, Native} = :code.load_file(Native)
    outcome(fn -> with {:ok, 2} <- Penstock.run(pool, fn -> in_use(pool) end), do: {:ok, in_use(pool)} end)
  end

  # A handle may be none any more.
  defp in_use(pool) do
    outcome(fn -> Pool.info(pool).in_use end)
  end

  defp holder(pools) do
    parent = self()

    pid =
      spawn(fn ->
        for pool <- pools, do: :ok = Pool.acquire(pool)
        send(parent, {:held, self()})
        never()
      end)

    receive do: ({:held, ^pid} -> pid)
  end

  defp kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  # Our monitor may be told before the pool's.
  defp settled(pool, in_use, tries \\ 1_000) do
    now = in_use(pool)

    if tries == 0 or now == in_use or now == ArgumentError do
      now
    else
      receive after: (1 -> :ok)
      settled(pool, in_use, tries - 1)
    end
  end

  ## Deaths

  @doc "What waits when a holder of many permits dies, of 200 waiters and of as many who drain."
  def deaths do
    for pool <- pools(limit: 200), wait <- [&Pool.acquire/1, &Pool.drain/1] do
      :ok = Pool.reopen(pool)
      parent = self()

      holder =
        spawn(fn ->
          :ok = Pool.acquire(pool, permits: 200)
          send(parent, :held)
          never()
        end)

      receive do: (:held -> :ok)

      waiters =
        for _ <- 1..200 do
          spawn_monitor(fn ->
            :ok = wait.(pool)
            exit(:served)
          end)
        end

      ask_until(fn -> Enum.all?(waiters, fn {pid, _} -> Process.info(pid, :status) == {:status, :waiting} end) end)
      kill(holder)
      served = for {_, monitor} <- waiters, do: receive(do: ({:DOWN, ^monitor, _, _, reason} -> reason))
      {Enum.frequencies(served), settled(pool, 0)}
    end
  end

  ## Memory

  @doc "By how many KiB the VM has grown after `count` pools were made, used in that way, and dropped."
  def grown(how, count) do
    # The pools of the first loop are never freed, and serve the second.
    make(how, count)
    before = resident()
    make(how, count)
    resident() - before
  end

  defp make(how, count) do
    for _ <- 1..count, do: employ(how, Pool.new(limit: 1))
    :erlang.garbage_collect()
    # Handles are destroyed by the schedulers, after the collection.
    receive after: (100 -> :ok)
  end

  defp employ(:not_at_all, pool), do: pool

  defp employ(:by_others, pool) do
    {_, monitor} = spawn_monitor(fn -> :ok = Pool.acquire(pool) end)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  defp employ(:by_oneself, pool) do
    :ok = Pool.acquire(pool)
    :ok = Pool.release(pool)
  end

  defp resident do
    [_, kib] = Regex.run(~r/VmRSS:\s+(\d+) kB/, File.read!("/proc/self/status"))
    String.to_integer(kib)
  end

  ## Pools that are dropped

  @doc "Makes pools one after the other and acquires in each; how many there were, and the monitors of the process."
  def many_pools(count) do
    for _ <- 1..count, do: :ok = Pool.acquire(Pool.new(limit: 1))
    {:monitored_by, monitors} = Process.info(self(), :monitored_by)
    {elem(Native.pools_made(), 0), length(monitors)}
  end

  @doc """
  Drops a pool of `holders` living holders, `times` times.

  Returns the longest stall of each time, the longest stalls of an equally long time in which
  nothing is dropped, and the pools that were made.
  """
  def large_pool(holders, times) do
    {before, 0} = Native.pools_made()
    pids = for _ <- 1..holders, do: spawn(@never)

    stalls =
      for _ <- 1..times do
        maker = spawn_link(fn -> hold_for(pids) end)
        send(maker, {:hold, self()})
        receive do: (:held -> :ok)
        {_, 0} = Native.pools_made()

        {ms, stall} =
          Stalls.during(fn ->
            begun = System.monotonic_time(:millisecond)
            send(maker, :drop)
            ask_until(fn -> match?({_, 1}, Native.pools_made()) end)
            System.monotonic_time(:millisecond) - begun
          end)

        {_, of_machine} = Stalls.during(fn -> receive after: (ms -> :ok) end)
        {stall, of_machine}
      end

    {stalls, of_machine} = Enum.unzip(stalls)
    %{stalls: stalls, of_machine: of_machine, made: elem(Native.pools_made(), 0) - before}
  end

  @doc """
  Drops a pool of `holders` holders while there is no janitor, and makes others.

  Returns how many of them were new, and whether the last one works.
  """
  def large_pool_without_janitor(holders) do
    {before, 0} = Native.pools_made()
    :ok = Application.stop(:penstock)
    pids = for _ <- 1..holders, do: spawn(@never)
    maker = spawn_link(fn -> hold_for(pids) end)
    send(maker, {:hold, self()})
    receive do: (:held -> :ok)
    monitor = Process.monitor(maker)
    Process.unlink(maker)
    Process.exit(maker, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
    # Each does a bounded piece, and all hold on to what they make.
    pools = for _ <- 1..(div(holders, 512) + 2), do: Pool.new(limit: holders)
    {made, 0} = Native.pools_made()
    # The first is the one that was dropped.
    {length(pools) - (made - before - 1), Enum.map(pools, &Pool.try_acquire(&1, holders))}
  end

  # Each of these processes holds a permit without knowing the pool.
  defp hold_for(pids) do
    receive do: ({:hold, from} -> hold_for(pids, from))
  end

  defp hold_for(pids, from) do
    pool = Pool.new(limit: length(pids))
    :ok = Pool.acquire(pool, permits: length(pids))
    for pid <- pids, do: :ok = Pool.transfer(pool, pid)
    send(from, :held)
    receive do: (:drop -> pool)
  end

  ## Names

  @doc "Starts `count` names; returns how many are listed, and the most that one call returned."
  def many_names(count) do
    for n <- 1..count, do: :fresh = Native.pool_start(:"many_#{n}", self(), plain(1, 0))
    pieces = pieces(0)
    names = Enum.concat(pieces)
    %{listed: length(names), uniq: names |> Enum.uniq() |> length(), most: pieces |> Enum.map(&length/1) |> Enum.max()}
  end

  defp plain(limit, max_waiting) do
    %{limit: limit, max_waiting: max_waiting, max_overdraft: 0, held_longer_than: 0}
  end

  defp pieces(:done), do: []

  defp pieces(position) do
    {next, names} = Native.gate_names(position)
    [names | pieces(next)]
  end

  @doc "Starts and closes names, and then more; how many KiB the second ones took."
  def closed_names(first, more) do
    start_and_close(1..first)
    before = resident()
    start_and_close((first + 1)..(first + more))
    resident() - before
  end

  defp start_and_close(range) do
    for n <- range do
      name = :"closed_#{n}"
      :fresh = Native.pool_start(name, self(), plain(1, 0))
      :ok = Pool.acquire(name)
      :ok = Pool.release(name)
      :ok = Native.gate_close(name, self())
    end
  end

  @doc "Starts names until one that was closed has lost its node; what is answered to who uses numbers of its pool."
  def forgotten_name do
    start = fn name -> :fresh = Native.pool_start(name, self(), plain(2, 1)) end
    start.(:lost)
    :ok = Native.run_take(:lost, 1)
    parent = self()

    other =
      spawn(fn ->
        send(parent, {:took, Native.run_take(:lost, 1)})
        Process.sleep(:infinity)
      end)

    receive do: ({:took, :ok} -> :ok)
    {:ok, token} = Native.pool_park(:lost, :free, 1, make_ref())
    :cancelled = Native.pool_cancel(:lost, :ok, token)
    offer = Native.spawn_offer(:lost, :ok, 1)
    :ok = Native.spawn_retract(:lost, offer)
    Process.exit(other, :kill)
    ask_until(fn -> Native.pool_held(:lost, :ok) == 0 end)
    :ok = Native.gate_close(:lost, self())
    # Each bucket of the registry gets a name.
    for n <- 1..20_000, do: start.(:"other_#{n}")

    answers = %{
      forgotten: Native.work_ms(:lost, self()) == :not_held and Native.gate_owner(:lost) == nil,
      cancel: Native.pool_cancel(:lost, :ok, token),
      hand_over: Native.spawn_hand_over(:lost, offer, self()),
      adopt: Native.spawn_adopt(:lost, offer),
      retract: Native.spawn_retract(:lost, offer),
      spawn_end: Native.spawn_end(:lost, offer),
      claim: Native.start_claim(:lost, offer, self()),
      run_end: Native.run_end(:lost, :ok, 1),
      held: Native.pool_held(:lost, :ok),
      work: Native.work_ms(:lost, self())
    }

    start.(:lost)
    %{instance: number, in_use: 0} = Native.pool_info(:lost)
    # Of another life.
    again = with true <- is_integer(number), :not_held <- Native.run_end(:lost, :ok, 1), do: Pool.try_acquire(:lost)
    Map.put(answers, :again, again)
  end
end
