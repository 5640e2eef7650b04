defmodule Penstock.ChildJobs.Calls do
  # Calls native functions with wrong and with random arguments. `Penstock.ChildVM` runs this in a
  # VM of its own, which such calls may crash.
  @moduledoc false

  import Penstock.ChildJobs.Pieces

  alias Penstock.{Ban, Garbage, Gate, KeyedPool, Native, Pool, RateLimiter}

  @never &Penstock.ChildJobs.Pieces.never/0

  @limiter MyApp.Limiter
  @ban MyApp.Ban
  @keyed MyApp.GarbageKeyed
  @composed MyApp.GarbageGate

  # Longer than any run of these calls, in ms.
  @never_due 1_000_000

  @doc """
  Calls each native function with each invalid term in the place of each argument.

  Only one argument of a call is invalid. Returns the calls with a wrong answer, whether the
  counts of the pools are unchanged, and the mailbox.
  """
  def garbage do
    [name, %Pool{ref: ref}] = pools = pools(limit: 10)
    for pool <- pools, do: :ok = Pool.acquire(pool, permits: 2)
    {:ok, _owner} = RateLimiter.start_link(name: @limiter, limit: 1, per: 1_000, clock: :manual)
    {:ok, _owner} = Ban.start_link(name: @ban, clock: :manual)
    {:ok, _owner} = KeyedPool.start_link(name: @keyed, limit: 10, max_keys: 10)
    {:ok, _owner} = Gate.start_link(name: @composed, limits: [@keyed, @limiter, @ban])
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

  @doc "Returns the native functions whose arguments `garbage/0` knows, with their arities."
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
      pool_park: [gate: gate, kind: :manual, permits: 1, ref: make_ref()],
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
      gate_meters: [gate: gate],
      meter_edges: [],
      pools_made: [],
      pool_info: [gate: gate],
      pool_held: [gate: gate, instance: instance],
      pool_report: [gate: gate, instance: instance, position: 0],
      work_ms: [gate: gate, pid: self()],
      pool_holders: [gate: gate, instance: instance, position: 0, now: nil, age: 0, not_before: nil],
      library_keep: [],
      janitor_register: [],
      janitor_serve: [],
      deadline_set: [gate: gate, offer: 1, ms: @never_due],
      deadline_give: [gate: gate, instance: instance, pid: self(), ms: @never_due],
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
      gate_take: [
        gate: gate,
        way: :run,
        key: :key,
        keys: %{},
        permits: 1,
        permits: 1,
        measured: :measured,
        way: :no_wait
      ],
      gate_finish: [
        composed: @composed,
        waited: [keyed_pool: @keyed],
        key: :key,
        keys: %{},
        permits: 1,
        permits: 1,
        measured: :measured
      ],
      gate_explain: [gate: gate, key: :key, keys: %{}, permits: 1, permits: 1, measured: :measured],
      gate_release: [gate: gate, key: :key, keys: %{}, permits: 1, measured: :measured],
      gate_quotas: [gate: gate, key: :key, keys: %{}, permits: 1, measured: :measured],
      gate_start: [name: MyApp.Gated, pid: self(), members: [:limit], level: 0],
      gate_info: [gate: gate],
      gate_limits: [gate: gate],
      gate_count: [composed: @composed, level: 0],
      set_offer: [set: []],
      keyed_start: [name: MyApp.Keyed, pid: self(), keyed_settings: settings(:keyed_settings)],
      keyed_try: [keyed: @keyed, key: :key, permits: 1, measured: :measured],
      keyed_park: [keyed: @keyed, key: :key, kind: :manual, permits: 1, ref: make_ref(), measured: :measured],
      keyed_cancel: [lease_pool: 1, token: 1],
      keyed_withdraw: [lease_pool: 1, token: 1],
      keyed_restart: [keyed: @keyed, key: :key, permits: 1, from: 0, measured: :measured],
      keyed_release: [keyed: @keyed, key: :key, permits: 1, measured: :measured],
      keyed_update: [keyed: @keyed, permits_or_keep: :keep, max_waiting_or_keep: :keep],
      keyed_drain: [keyed: @keyed, ref: make_ref()],
      keyed_stop_draining: [lease_pool: 1, token: 1],
      keyed_reopen: [keyed: @keyed],
      keyed_info: [keyed: @keyed],
      keyed_key: [keyed: @keyed, key: :key, measured: :measured],
      keyed_top: [keyed: @keyed, age: 0, permits: 1],
      keyed_holders: [keyed: @keyed, key: :key, measured: :measured, age: 0, now: nil],
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
      mailbox_open: [pid: self(), mailbox_settings: settings(:mailbox_settings)],
      mailbox_send: [pid: self(), key: :message, way: :info],
      mailbox_ask: [pid: self(), key: :message, way: :call],
      mailbox_room: [pid: self()],
      mailbox_park: [pid: self(), key: :message, ref: make_ref()],
      mailbox_cancel: [pid: self(), token: 1],
      mailbox_taken: [self: self()],
      mailbox_taken_call: [self: self()],
      mailbox_serve: [],
      mailbox_next: [],
      mailbox_release: [permits: 1],
      mailbox_info: [pid: self()],
      vm_get: [],
      vm_set: [age: 0, age: 0],
      vm_read: [paths: ["/dev/null"]],
      vm_read_at_once: [path: "/dev/null"],
      metered: [],
      allocated: []
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
    keyed_settings: [
      {:limit, :permits, 10},
      {:max_keys, :permits, 10},
      {:max_waiting, :max_waiting, 1},
      {:max_overdraft, :overdraft, 1}
    ],
    rate_settings: [
      {:limit, :permits, 1},
      {:per, :per, 1_000},
      {:burst, :permits, 1},
      {:max_keys, :permits, 1},
      {:clock, :clock, :monotonic}
    ],
    mailbox_settings: [
      {:limit, :permits, 10},
      {:max_waiting, :max_waiting, 1},
      {:overflow, :kind, :refuse},
      {:release, :kind, :taken}
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

  # The kinds of arguments for which the native side refuses no term. It ignores a `self` that is
  # no pid.
  @anything [:key, :keys, :measured, :progress, :reason, :self, :way]
  @century_ms 100 * 31_557_600_000

  # The functions that take a permit set in place of an instance or an offer.
  @with_sets [:run_end, :spawn_hand_over, :spawn_adopt, :spawn_retract, :spawn_end] ++
               [:start_entrust, :deadline_set, :deadline_give]
  @max 0x7FFFFFFF
  @most 0xFFFFFFFFFFFFFFFF

  # Returns terms that are invalid for an argument of the given kind.
  defp bad(kind) when kind in @anything, do: []
  defp bad(kind) when kind in [:limiter, :ban, :keyed, :composed, :clock], do: Garbage.terms()

  # The empty list is a permit set without parts.
  defp bad(:set),
    do: [[{1, 1, 1}], [{:gate, :ok, 1}], [{1, 1}], List.duplicate({1, 1, 1}, 20) | Garbage.terms() -- [[]]]

  defp bad(:members), do: [List.duplicate(:limit, 17), [:limit, 1] | Garbage.terms()]
  defp bad(:waited), do: [[keyed_pool: :other], [pool: @keyed], [{:keyed_pool, @keyed} | @keyed] | Garbage.terms()]
  defp bad(:paths), do: [["/dev/null" | "/dev/null"], [:path], List.duplicate("", 17) | Garbage.terms() -- [[]]]
  defp bad(:path), do: Enum.reject(Garbage.terms(), &is_binary/1)
  defp bad(:level), do: Enum.reject(Garbage.terms(), &(&1 in 0..10))
  defp bad(:lease_pool), do: Garbage.terms() -- [1]

  # Returns garbage, settings without one field, and settings with one invalid field.
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

  defp bad(kind) when kind in [:now, :not_before],
    do: Enum.reject(Garbage.terms(), &(&1 in 0..0xFFFFFFFF or &1 == nil))

  defp bad(:instance), do: Enum.reject(Garbage.terms(), &(&1 in [0, 1]))
  defp bad(:token), do: Garbage.terms()
  defp bad(:offer), do: [{1, 1}, {:ok, 1}, {0, 1}, {2, 1}, {1, 1.0}, {:ok, -1}, {1, 1, 1} | Garbage.terms()]
  defp bad(:position), do: Garbage.terms()
  # Returns no number of 64 bits, because each is valid, and the call would acquire a permit with
  # it.
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
  defp allowed(:gate_meters, :gate, _), do: [:no_gate]
  # Any number can be a token. A token that names no waiter has no effect.
  defp allowed(stop, :token, n) when stop in [:pool_cancel, :pool_withdraw, :mailbox_cancel] and n in 0..@most,
    do: [:too_late]

  # The empty list is a permit set without parts, which is taken in place of an instance or offer.
  defp allowed(:start_claim, :offer, []), do: [[]]
  defp allowed(function, kind, []) when kind in [:offer, :instance] and function in @with_sets, do: [:ok]

  defp allowed(stop, :token, n) when stop in [:keyed_cancel, :keyed_withdraw, :keyed_stop_draining] and n in 0..@most,
    do: [:too_late]

  # Keyed pool 1 is there, but the caller holds no lease in it.
  defp allowed(:set_offer, :set, [{1, 1, 1}]), do: [:not_held]
  # The gate has another limit with permits.
  defp allowed(:gate_finish, :waited, _), do: [:closed]
  defp allowed(_, kind, _) when kind in [:keyed, :composed], do: [:no_pool, :badarg]
  defp allowed(function, :offer, n) when n in 0..@most, do: [no_offer(function)]
  # A named pool has no offer 1 in any of these instances. The reference of an unnamed pool has
  # only one instance, so the pair is invalid for it.
  defp allowed(function, :offer, {instance, 1}) when instance in [:ok, 0, 1], do: [no_offer(function), :badarg]
  # The report covers the holders from the position on. The only holder of the pool is before that
  # position, at it or after it.
  defp allowed(:pool_report, :position, n) when n in 0..@most,
    do: [{:done, sums(1)}, {:done, sums(0)}]

  defp allowed(:pool_holders, :position, n) when n in 0..@most, do: [{:done, 0, []}, {:done, 0, [{self(), 2, 0}]}]
  defp allowed(:gate_names, :position, n) when n in 0..0xFFFFFFFF, do: [:names]
  defp allowed(_, :gate, _), do: [:no_pool, :badarg]
  defp allowed(_, :limiter, _), do: [:no_limiter]
  defp allowed(_, :ban, _), do: [:no_ban]
  defp allowed(_, _, _), do: [:badarg]

  # Returns the report of one holder that has acquired once, or that of no holder. `n` is 1 or 0.
  defp sums(n) do
    none = %{rejected: 0, timed_out: 0, released_by_exit: 0, killed: 0, held_longer_than: 0}
    Map.merge(none, %{holders: n, acquired: n})
  end

  defp no_offer(function) when function in [:spawn_adopt, :start_claim], do: :revoked
  defp no_offer(:spawn_end), do: :not_held
  defp no_offer(_function), do: :ok

  defp answer(function, args) do
    case apply(Native, function, args) do
      # Times and ages become 0, because they differ from run to run.
      {:done, _now, [{pid, permits, _age}]} -> {:done, 0, [{pid, permits, 0}]}
      {:done, _now, []} -> {:done, 0, []}
      # Names become `:names`, because the numbers of their atoms decide which names a call
      # returns.
      {next, names} when function == :gate_names and (is_integer(next) or next == :done) and is_list(names) -> :names
      answer -> answer
    end
  rescue
    _ -> :badarg
  end

  @doc "Calls native functions with random arguments in several processes at once."
  def chaos(seed, calls) do
    [name, %Pool{ref: ref}] = pools(limit: 10)
    {:ok, _owner} = RateLimiter.start_link(name: @limiter, limit: 1_000, per: 1, max_keys: 10)
    {:ok, _owner} = Ban.start_link(name: @ban, failures: 3, max_keys: 10, max_bans: 5)
    {:ok, _owner} = KeyedPool.start_link(name: @keyed, limit: 10, max_keys: 10)
    {:ok, _owner} = Gate.start_link(name: @composed, limits: [@keyed, @limiter, @ban])
    parent = self()

    workers =
      for worker <- 1..4 do
        spawn_monitor(fn ->
          :rand.seed(:exsss, {seed, worker, 0})
          terms = List.to_tuple([name, ref, parent] ++ Garbage.terms())
          # Leaves out `deadline_give`: a process that gets a deadline from another process does
          # not withdraw it, so the reaper would kill that process. Leaves out the starts of
          # limiters and bans, because the native side would reserve memory for any size.
          functions =
            List.to_tuple(
              Keyword.drop(calls(name, 1) ++ calls(ref, 0), [:deadline_give, :rate_start, :ban_start, :keyed_start])
            )

          for _ <- 1..calls, do: random_call(functions, terms)
        end)
      end

    for {_, monitor} <- workers, do: receive(do: ({:DOWN, ^monitor, _, _, reason} -> :normal = reason))
    # The calls may have registered a worker as the janitor or the reaper. So this kills the true
    # ones. Their supervisor restarts them, and they register again.
    for name <- [Penstock.Node.Janitor, Penstock.Node.Reaper] do
      replaced = Process.whereis(name)
      Process.exit(replaced, :kill)
      ask_until(fn -> Process.whereis(name) not in [nil, replaced] end)
    end

    # Checks that new pools still work in this VM.
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
    # Never replaces `self()`: with another pid, the call would acquire permits for a process that
    # has not asked.
    args =
      for {kind, valid} <- args, do: if(kind != :self and :rand.uniform(3) == 1, do: other(kind, terms), else: valid)

    _ = answer(function, args)
    # Drops the messages of earlier calls now and then. No check reads them, and they would pile
    # up.
    if :rand.uniform(50) == 1, do: flush()
  end

  defp other(kind, terms) when kind in @settings_kinds do
    {field, _kind, _valid} = Enum.random(@settings[kind])
    Enum.random([pick(terms), Map.put(settings(kind), field, pick(terms))])
  end

  # If a short deadline passes before the process ends it, the reaper kills the process.
  defp other(:ms, terms) do
    case pick(terms) do
      ms when ms in 1..@never_due -> @never_due
      term -> term
    end
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
end
