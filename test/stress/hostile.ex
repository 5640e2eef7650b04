defmodule Penstock.Stress.Hostile do
  # Fuzzes Penstock. Many processes, the fuzzers, call all functions with terms of all kinds. The
  # main process kills and suspends fuzzers at random. Afterwards the VM must be alive, the
  # application's processes must be the same, and no pool or keyed pool must count a permit of a
  # dead process.
  @moduledoc false

  alias Penstock.{Ban, Gate, KeyedPool, Pool, RateLimiter}
  alias Penstock.Node.Janitor
  alias Penstock.Node.Reaper
  alias Penstock.Stress.{HostileCalls, HostileFindings, HostileServer, HostileTerms, Survivors}

  @fuzzers 16
  @victims 4
  @longest_suspension_ms 5

  @doc """
  Runs for `seconds`, without the functions named in `skip`.

  With `shared?`, random terms include a pair whose halves are the same, on each of 100 levels.
  """
  def run(seed, seconds, shared?, skip) do
    Process.flag(:trap_exit, true)
    :rand.seed(:exsss, seed)
    app = app()
    findings = HostileFindings.watch()
    top = start_gates()
    # A call draws the pid of its caller, of a victim, or of a process that ends at once. Victims
    # keep the permits that fuzzers transfer to them.
    victims = for _ <- 1..@victims, do: spawn(fn -> Process.sleep(:infinity) end)
    HostileTerms.open(victims, shared?)
    calls = HostileCalls.all(skip)
    made = :counters.new(1, [:write_concurrency])
    fuzzers = Map.new(1..@fuzzers, &{&1, fuzzer(calls, made)})
    until = System.monotonic_time(:millisecond) + seconds * 1_000
    {fuzzers, kills} = storm(fuzzers, calls, made, until, 0)
    for pid <- victims ++ Map.values(fuzzers), do: end_process(pid)

    never = HostileCalls.never_accepted(calls)
    IO.puts("  #{:counters.get(made, 1)} calls, #{kills} kills, #{tuple_size(elem(calls, 0))} functions")
    for {module, name, arity} <- never, do: IO.puts("  never accepted: #{inspect(module)}.#{name}/#{arity}")

    result = with :ok <- same(app), :ok <- restart_app(), :ok <- Survivors.until(&at_rest/0), do: works()
    end_process(top)
    # Prints a wrong result even if there are findings, because both may come from the same fault.
    found = HostileFindings.check(findings)
    if result != :ok, do: IO.puts("  at rest: #{inspect(result)}")
    with :ok <- found, :ok <- result, do: {:ok, :counters.get(made, 1)}
  end

  ## Gates

  defp start_gates do
    children = [
      {Pool, name: :hostile_pool, limit: 8, max_waiting: 20},
      {Pool, name: :hostile_narrow, limit: 1},
      {RateLimiter, name: :hostile_limiter, limit: 1_000, per: 100, max_keys: 100},
      {Ban, name: :hostile_ban, failures: 5, within: 1_000, ban_for: 10, max_keys: 100, max_bans: 10},
      {KeyedPool, name: :hostile_keyed, limit: 3, max_keys: 50, max_waiting: 20},
      {Gate, name: :hostile_gate, limits: [:hostile_ban, :hostile_limiter, :hostile_keyed, :hostile_pool]},
      HostileServer,
      {Penstock.Task.Supervisor, name: :hostile_tasks, limit: 5, max_restarts: 100_000_000},
      {Penstock.DynamicSupervisor, name: :hostile_children, limit: 5, partitions: 2, max_restarts: 100_000_000}
    ]

    {:ok, top} = Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 100_000_000)
    top
  end

  ## Fuzzers

  defp fuzzer(calls, made) do
    seed = :rand.uniform(1_000_000_000)

    spawn(fn ->
      :rand.seed(:exsss, seed)
      Process.flag(:trap_exit, :rand.uniform(2) == 1)
      fuzz(calls, made)
    end)
  end

  defp fuzz(calls, made) do
    HostileCalls.one(calls)
    :counters.add(made, 1, 1)
    flush()
    fuzz(calls, made)
  end

  defp flush do
    receive do
      _answer -> flush()
    after
      0 -> :ok
    end
  end

  defp storm(fuzzers, calls, made, until, kills) do
    receive after: (:rand.uniform(3) -> :ok)
    slot = :rand.uniform(@fuzzers)
    pid = fuzzers[slot]
    # A fuzzer that has died before, by an exit signal or by its own call, does not count as
    # killed.
    alive? = Process.alive?(pid)
    if alive?, do: disturb(pid, :rand.uniform(3))
    killed = if alive? and not Process.alive?(pid), do: 1, else: 0
    fuzzers = if Process.alive?(pid), do: fuzzers, else: %{fuzzers | slot => fuzzer(calls, made)}

    if System.monotonic_time(:millisecond) < until,
      do: storm(fuzzers, calls, made, until, kills + killed),
      else: {fuzzers, kills + killed}
  end

  defp disturb(pid, 1), do: end_process(pid)

  defp disturb(pid, suspend) do
    # The request is asynchronous, because OTP 25 may never answer a synchronous one if the
    # process ends at that moment.
    :erlang.suspend_process(pid, [:asynchronous])
    receive after: (:rand.uniform(@longest_suspension_ms) -> :ok)
    if suspend == 2, do: Process.exit(pid, :kill), else: :erlang.resume_process(pid)
  catch
    # For a process that dies or has died, the VM raises `:badarg` or `:internal_error`.
    :error, reason when reason in [:badarg, :internal_error] -> :ok
  end

  defp end_process(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  ## What is left

  defp app, do: for(name <- [Janitor, Reaper], do: {name, Process.whereis(name)})

  defp same(app) do
    case app() do
      ^app -> :ok
      other -> {:error, {:app_restarted, app, other}}
    end
  end

  # Kills the janitor and the reaper, and waits until their supervisor has restarted them. At its
  # start each of them registers with the native side. A fuzzer may have registered in their
  # place, and been killed before it undid that.
  defp restart_app do
    for {name, pid} <- app() do
      end_process(pid)
      :ok = Survivors.until(fn -> if Process.whereis(name) in [nil, pid], do: {:error, name}, else: :ok end)
    end

    :ok
  end

  # Returns `:ok` if no pool counts a permit of a dead process. Ends the children of supervisors
  # first, because the supervisors would restart them without end.
  defp at_rest do
    for {_, pid, _, _} <- Penstock.DynamicSupervisor.which_children(:hostile_children), is_pid(pid) do
      Penstock.DynamicSupervisor.terminate_child(:hostile_children, pid)
    end

    for pid <- Penstock.Task.Supervisor.children(:hostile_tasks), do: Process.exit(pid, :kill)
    infos = Penstock.list()
    wrong = for %{kind: :pool} = info <- infos, not exact?(info), do: {info, Pool.holders(info.name)}
    wrong_keys = for %{kind: :keyed_pool} = info <- infos, not exact_keys?(info), do: {info, keys(info.name)}
    if wrong ++ wrong_keys == [], do: :ok, else: {:error, {:held_by_the_dead, wrong ++ wrong_keys}}
  catch
    :exit, _restarting -> {:error, :restarting}
    :error, %ArgumentError{message: message} -> {:error, {:restarting, message}}
  end

  # Returns `true` if the pool counts the permits of its living holders and no others. Some
  # holders are alive, because a fuzzer may have transferred permits to an owner or a supervisor.
  defp exact?(info) do
    held = for %{pid: pid, permits: permits} <- Pool.holders(info.name), Process.alive?(pid), do: permits
    info.in_use == Enum.sum(held) and info.holders == length(held) and info.waiting == 0
  end

  # Returns `true` if the keyed pool has no keys but those of living holders. The holders of a key
  # that was too large to be kept are not known.
  defp exact_keys?(%{name: name} = info) do
    keys = keys(name)
    sum = keys |> Enum.map(fn {key, _holders} -> key.permits end) |> Enum.sum()

    info.waiting == 0 and info.keys == length(keys) and info.in_use == sum and
      Enum.all?(keys, fn {key, holders} ->
        Enum.all?(holders, &Process.alive?(&1.pid)) and key.permits == holders |> Enum.map(& &1.permits) |> Enum.sum()
      end)
  end

  defp keys(name), do: for(key <- KeyedPool.top(name, 1_000), do: {key, KeyedPool.holders(name, key.key)})

  # Checks that the reaper still kills, that a waiter is woken, and that a full pool refuses.
  defp works do
    pool = Pool.new(limit: 1)
    {:ok, {pid, monitor}} = Penstock.spawn_monitor(pool, fn -> Process.sleep(:infinity) end, max_runtime: 1)
    waited = Pool.acquire(pool, timeout: 5_000)
    died = receive do: ({:DOWN, ^monitor, :process, ^pid, reason} -> reason), after: (0 -> :alive)
    refused = Pool.try_acquire(pool)
    if {waited, died, refused} == {:ok, :killed, {:error, :full}}, do: :ok, else: {:error, {waited, died, refused}}
  end
end
