defmodule Penstock do
  @moduledoc """
  Bounds how many processes an application creates.

  A *gate* decides whether work may start:

    * a `Penstock.Pool` has a number of permits, which stays exact whatever is killed whenever: so much at a time
    * a `Penstock.RateLimiter` counts hits, of all or of each key: so much in a time
    * a `Penstock.Ban` keeps out keys that failed too often

  They are started under a supervisor, before those who use them:

      children = [
        {Penstock.Pool, name: MyApp.Jobs, limit: 100},
        {Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000}
      ]

  The functions here start work behind a gate:

    * `run/3` and `run!/3` run a function in the calling process
    * `spawn/3`, `spawn_link/3` and `spawn_monitor/3` create a process
    * `start_process/3` starts a process of any kind, by its own start function
    * `child_spec/2` puts a child of any supervisor behind a gate
    * `Penstock.Task` starts tasks, and streams of tasks
    * `Penstock.DynamicSupervisor` and `Penstock.Task.Supervisor` are supervisors whose children share one limit

  ## Waiting

  `run/3` waits up to 5 s to be admitted, since somebody awaits its result; the functions that create a process
  do not wait. `timeout: ms` says otherwise; `timeout: 0` never waits.

  > #### Waiting for oneself {: .warning}
  >
  > Work that waits on a gate while it holds that gate's permits can wait for itself. One process that does so is told by
  > `{:error, :deadlock}`. Several that each hold a part, and wait for what the others hold, are not: none goes on before its
  > timeout. Use separate gates for parent and child work, or `timeout: 0`.

  ## Refusals

  `{:error, reason}`, where `reason` is one of

    * `:full` - no permit is free and the caller would not wait, or it asked for more than the limit
    * `:queue_full` - no permit is free and `:max_waiting` processes wait already
    * `:timeout` - waited for `:timeout` ms in vain
    * `:closed` - the pool is draining, or was closed during the call
    * `:deadlock` - waiting could never end: what the caller holds of the pool itself and what it asks exceed the limit
      together. With `timeout: 0` that is `:full`, and while the limit is 0, which is a pause, the caller waits
    * `{:rate_limited, retry_after_ms}` - the limiter does not allow it yet; `:infinity` if the cost is above its burst
    * `{:banned, retry_after_ms}` - the key is banned

  ## Limiters and bans

  Each function that starts something behind a gate takes `key: term` and `cost: number`. A limiter goes by both, a ban by the key, and neither
  by `:permits`; a pool ignores them. `child_spec/2` has no key: it takes no ban. A limiter without a
  key goes by `:global`, a ban without one raises `ArgumentError`, and so does the key `nil`. What they admit holds no permits of theirs, and
  they do not wait, whatever `:timeout` says; only `Penstock.Task.async_stream/4` waits for its turns of a limiter. They are not asked of restarts.

  What a limiter has charged is not given back if the start fails after that: if the VM refuses it, a child's `init` fails, or a start function
  raises.

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Imports, limit: 1, per: 60_000)
      iex> {:ok, pid} = Penstock.spawn(MyApp.Imports, fn -> :ok end, key: "alice")
      iex> is_pid(pid)
      true
      iex> {:error, {:rate_limited, ms}} = Penstock.spawn(MyApp.Imports, fn -> :never end, key: "alice")
      iex> ms in 1..60_000
      true

  """

  alias Penstock.{Admission, Ban, Native, Options, Pool, RateLimiter, RejectedError}
  alias Penstock.Admission.{Keyed, Names, Request, Resolver, Table}
  alias Penstock.Process.{Child, ChildStart, GatedChild}

  @typedoc "The name of a running pool, limiter or ban, or a pool made by `Penstock.Pool.new/1`."
  @type gate :: atom | Pool.t()

  @typedoc "Why a gate did not admit."
  @type reason ::
          :full
          | :queue_full
          | :timeout
          | :closed
          | :deadlock
          | {:rate_limited, pos_integer | :infinity}
          | {:banned, pos_integer | :infinity}

  @typedoc "An option of `run/3`."
  @type run_option :: {:timeout, timeout} | {:permits, pos_integer} | {:key, term} | {:cost, pos_integer}

  @typedoc "An option of `start_process/3`."
  @type start_option :: run_option | {:max_runtime, pos_integer}

  @typedoc "An option of the functions that spawn."
  @type spawn_option :: run_option | {:max_runtime, pos_integer} | {:spawn_opt, list}

  @default_timeout 5_000
  @no_options %Request{timeout: @default_timeout}

  @doc """
  `run/3` without options.
  """
  @spec run(gate, fun) :: {:ok, term} | {:error, reason}
  def run(gate, fun)

  # Its own clause, not a default argument: what nearly every call is, as short as it can be.
  def run(gate, fun) when is_atom(gate) and is_function(fun, 0) do
    case Native.run_take_one(gate, self()) do
      :ok ->
        # Neither `after` nor a function of its own: each would be one more call.
        try do
          fun.()
        catch
          kind, reason ->
            Native.run_end_one(gate, self())
            :erlang.raise(kind, reason, __STACKTRACE__)
        else
          value ->
            Native.run_end_one(gate, self())
            {:ok, value}
        end

      :busy ->
        run_asked(Admission.park(:run, gate, 1, @default_timeout), gate, gate, @no_options, fun)

      other ->
        run_asked(Admission.answered(other), gate, gate, @no_options, fun)
    end
  end

  def run(gate, fun), do: run(gate, fun, [])

  @doc """
  Runs `fun` in the calling process while it holds permits.

  However `fun` ends, the permits are given back; what it raises, throws or exits with passes through untouched. They
  are bound to this call: `Penstock.Pool.release/2` inside `fun` does not release them.

  Returns:

    * `{:ok, value}` - what `fun` returned
    * `{:error, reason}` - not admitted, `fun` was not called; see "Refusals" above

  Raises `ArgumentError`, before anything is taken, if `gate` is not a running gate, `fun` not a function of arity 0, or an
  option unknown or of the wrong kind.

  ## Options

    * `:timeout` - how long to wait to be admitted, in ms or `:infinity`. Default `5_000`
    * `:permits` - how many permits the work takes. Default `1`
    * `:key` - by which a limiter or a ban admits: any term but `nil`. A ban needs one, a limiter without one goes by `:global`, pools ignore it
    * `:cost` - what the hit on a limiter costs: 1 to 2_147_483_647. Default `1`

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.run(pool, fn -> 6 * 7 end)
      {:ok, 42}
      iex> Penstock.run(pool, fn -> Penstock.run(pool, fn -> :never end, timeout: 0) end)
      {:ok, {:error, :full}}

  """
  @spec run(gate, fun, [run_option]) :: {:ok, term} | {:error, reason}
  def run(gate, fun, opts) do
    Options.fun!(fun)
    %{permits: permits} = request = Request.run!(opts, @default_timeout)
    ref = Resolver.ref!(gate)

    case Admission.ask(:run, ref, permits, request.timeout) do
      # `:ok` means that the first pool of the name let the caller in.
      {:ok, :ok} when permits == 1 -> run_first(ref, fun)
      answer -> run_asked(answer, gate, ref, request, fun)
    end
  end

  # Not `after`, which would call a function of its own on the way out.
  defp run_first(name, fun) do
    try do
      fun.()
    catch
      kind, reason ->
        Native.run_end_one(name, self())
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      value ->
        Native.run_end_one(name, self())
        {:ok, value}
    end
  end

  defp run_asked({:ok, instance}, _gate, ref, request, fun), do: run_admitted(ref, instance, request.permits, fun)
  defp run_asked({:error, _reason} = refused, _gate, _ref, _request, _fun), do: refused

  # Work behind a limiter or a ban holds nothing.
  defp run_asked(:no_pool, gate, _ref, request, fun) do
    with :ok <- Keyed.admit(gate, request), do: {:ok, fun.()}
  end

  defp run_asked(bad, gate, _ref, _request, _fun), do: Resolver.bad!(bad, gate)

  defp run_admitted(ref, instance, permits, fun) do
    {:ok, fun.()}
  after
    # Of the pool that admitted it, even if that was closed meanwhile and another has its name.
    Native.run_end(ref, instance, permits)
  end

  @doc """
  As `run/3`, but returns what `fun` returned, and raises `Penstock.RejectedError` when not admitted.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.run!(pool, fn -> 6 * 7 end)
      42
      iex> Penstock.run!(pool, fn -> :never end, permits: 2)
      ** (Penstock.RejectedError) #Penstock.Pool<in_use: 0, limit: 1> did not admit: :full (2 permits were asked for, above the limit of 1)

  """
  @spec run!(gate, fun, [run_option]) :: term
  def run!(gate, fun, opts \\ []) do
    case run(gate, fun, opts) do
      {:ok, value} -> value
      {:error, reason} -> raise RejectedError, gate: gate, reason: reason, permits: Keyword.get(opts, :permits, 1)
    end
  end

  @doc """
  Creates a process that calls `fun`, if the gate admits it.

  The process holds its permits until it dies, in whatever way. They are bound to it: its own code can neither release nor
  lose them. If the caller is killed meanwhile, either `fun` is not called and nothing is held, or a process calls it and holds the
  permits.

  Returns:

    * `{:ok, pid}`
    * `{:error, reason}` - not admitted, no process was created; see "Refusals" above

  Raises `ArgumentError`, before anything is taken, if `gate` is not a running gate, `fun` not a function of arity 0, or an
  option unknown or of the wrong kind. Only the VM itself knows whether all of `:spawn_opt` go together, and whether there is place for another
  process. If not, it raises `ArgumentError` or `SystemLimitError`, with the permits back, but what a limiter has charged is gone.

  ## Options

    * `:timeout` - how long to wait to be admitted, in ms or `:infinity`. Default `0`
    * `:permits` - how many permits the process takes. Default `1`
    * `:key` - by which a limiter or a ban admits: any term but `nil`. A ban needs one, a limiter without one goes by `:global`, pools ignore it
    * `:cost` - what the hit on a limiter costs: 1 to 2_147_483_647. Default `1`
    * `:max_runtime` - how long the process may run, in ms. It is killed with `:kill` at most 100 ms after that, which monitors
      and links see as `:killed`. `Penstock.Pool.info/1` counts it, limiters and bans do not. Default: for ever
    * `:spawn_opt` - options of `:erlang.spawn_opt/4` other than `:link` and `:monitor`, such as
      `max_heap_size: words`. Default `[]`

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.spawn(pool, fn -> receive do: (:stop -> :ok) end)
      iex> Penstock.spawn(pool, fn -> :never end)
      {:error, :full}
      iex> Process.exit(pid, :kill)
      iex> {:ok, _pid} = Penstock.spawn(pool, fn -> :ok end, timeout: 1_000)

  """
  @spec spawn(gate, fun, [spawn_option]) :: {:ok, pid} | {:error, reason}
  def spawn(gate, fun, opts \\ []), do: Child.start(gate, fun, opts, [])

  @doc """
  As `spawn/3`, and links the process to the caller.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.spawn_link(pool, fn -> receive do: (:stop -> :ok) end)
      iex> pid in elem(Process.info(self(), :links), 1)
      true

  """
  @spec spawn_link(gate, fun, [spawn_option]) :: {:ok, pid} | {:error, reason}
  def spawn_link(gate, fun, opts \\ []), do: Child.start(gate, fun, opts, [:link])

  @doc """
  As `spawn/3`, and monitors the process.

  Returns:

    * `{:ok, {pid, reference}}`
    * `{:error, reason}` - not admitted, no process was created; see "Refusals" above

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, {pid, ref}} = Penstock.spawn_monitor(pool, fn -> exit(:done) end)
      iex> receive do: ({:DOWN, ^ref, :process, ^pid, reason} -> reason)
      :done

  """
  @spec spawn_monitor(gate, fun, [spawn_option]) ::
          {:ok, {pid, reference}} | {:error, reason}
  def spawn_monitor(gate, fun, opts \\ []), do: Child.start(gate, fun, opts, [:monitor])

  @doc """
  Starts a process by its own start function, if the gate admits it.

  `start` is `{module, function, args}` or a function of arity 0: whatever starts an OTP process, and returns what such functions
  do. It is called by the calling process, which holds the permits meanwhile. The process that was started holds them until it dies.

  Returns what `start` returned; anything but `{:ok, pid}` and `{:ok, pid, info}`, of a process of this node, gives the
  permits back. Or, without a call of `start`:

    * `{:error, reason}` - not admitted; see "Refusals" above

  What `start` raises, throws or exits with passes through, with the permits back. What a limiter has charged is gone, whatever `start` does.

  Raises `ArgumentError`, before anything is taken, if `gate` is not a running gate, `start` not of the right form, or an option unknown or of the
  wrong kind.

  A process whose starter is killed while `start` runs is not counted.

  ## Options

    * `:timeout` - how long to wait to be admitted, in ms or `:infinity`. Default `0`
    * `:permits` - how many permits the process takes. Default `1`
    * `:key` - by which a limiter or a ban admits: any term but `nil`. A ban needs one, a limiter without one goes by `:global`, pools ignore it
    * `:cost` - what the hit on a limiter costs: 1 to 2_147_483_647. Default `1`
    * `:max_runtime` - how long the process may run, in ms. It is killed with `:kill` at most 100 ms after that. `Penstock.Pool.info/1` counts it,
      limiters and bans do not. Default: for ever

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, agent} = Penstock.start_process(pool, {Agent, :start_link, [fn -> 1 end]})
      iex> Penstock.start_process(pool, fn -> Agent.start_link(fn -> 2 end) end)
      {:error, :full}
      iex> Agent.stop(agent)
      iex> {:ok, _agent} = Penstock.start_process(pool, {Agent, :start_link, [fn -> 3 end]}, timeout: 1_000)

  """
  @spec start_process(gate, {module, atom, [term]} | (-> result), [start_option]) :: result | {:error, reason} | term
        when result: term
  def start_process(gate, start, opts \\ []) do
    start = start!(start)
    request = Request.start!(opts, 0)

    with {:ok, permits} <- Admission.admit(:run, Resolver.ref!(gate), gate, request) do
      ChildStart.run(permits, request.max_runtime, start)
    end
  end

  defp start!({module, function, args}) do
    {module, function, args} = Options.mfargs!(module, function, args)
    fn -> apply(module, function, args) end
  end

  defp start!(fun) when is_function(fun, 0), do: fun
  defp start!(other), do: Options.expected!("start", "{module, function, args} or a function of arity 0", other)

  @doc """
  The child spec of a child whose every start passes the gate, under whatever supervisor.

  `child_spec` is a map, a module or `{module, arg}`, as in `Supervisor.child_spec/2`, or a tuple of six as Erlang had it. Returns a map in which only `:start` is
  another, and `:modules` is said.

  The gate is asked by the supervisor, which does not wait. It admits as ever; what happens if it does not depends on what the
  supervisor is at:

    * a *start*, by `start_child` or `restart_child`, gets `{:error, reason}`, as the supervisor passes on whatever a start function
      returns: `Supervisor` adds the child to it
    * a *restart* of a child that died takes over its permit, if that is not back yet. If it is, and another has it, the restart
      passes the limit, up to the pool's `:max_overdraft`; nobody is admitted before that is paid back. Beyond it, the restart fails, and
      the supervisor's `:max_restarts` decides
    * a child that is started as its supervisor begins counts as a restart, since the supervisor may be one itself

  A limiter is asked of a start, by the key `:global` and for a cost of 1. It is not asked of a restart, or of a child that is started as its
  supervisor begins: these are let in. A ban goes by a key, and there is none: it raises `ArgumentError`. For starts by a key there is
  `Penstock.DynamicSupervisor.start_child/3`.

  A restart runs unguarded if the gate is closed or gone, and logs a warning. A start then gets `{:error, :closed}`, or fails
  with an `ArgumentError`. Behind a name that no gate ever had in this VM nothing is started, be it as the supervisor begins: the start fails with
  an `ArgumentError`, as the name is misspelt or the gate comes later in the tree.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> spec = Penstock.child_spec({Agent, fn -> 1 end}, pool)
      iex> {:ok, supervisor} = DynamicSupervisor.start_link([])
      iex> {:ok, _agent} = DynamicSupervisor.start_child(supervisor, spec)
      iex> DynamicSupervisor.start_child(supervisor, spec)
      {:error, :full}

  """
  @spec child_spec(Supervisor.child_spec() | {module, term} | module | tuple, gate) :: Supervisor.child_spec()
  def child_spec(child_spec, gate) do
    in_order!(child_spec, gate)

    if Resolver.kind(Resolver.ref!(gate)) == :ban,
      do: Options.expected!("gate", "a pool or a limiter, as there is no key", gate)

    case GatedChild.spec(child_spec) do
      %{start: {module, function, args} = start} = spec when is_atom(module) and is_atom(function) and is_list(args) ->
        GatedChild.child_spec(spec, %GatedChild{gate: gate, start: start})

      # The supervisor says what is wrong with it.
      no_spec ->
        no_spec
    end
  end

  @spec_first "the child spec comes first: child_spec(child_spec, gate)"

  # The name of a gate may be that of its child's module as well.
  defp in_order!(_child_spec, gate) when is_tuple(gate) or (is_map(gate) and not is_struct(gate)) do
    Resolver.not_a_gate!(gate, @spec_first)
  end

  defp in_order!(%Pool{} = pool, _gate), do: Options.expected!("child_spec", "a child spec", pool, @spec_first)

  defp in_order!(name, _gate) when is_atom(name) do
    unless Code.ensure_loaded?(name) or Resolver.kind(name) == nil do
      Options.expected!("child_spec", "a child spec", name, @spec_first)
    end
  end

  defp in_order!(_child_spec, _gate), do: :ok

  @doc """
  Every registered gate, with what its `info` says.

  Returns a list of maps, by name: `:name`, `:kind`, and the rest of what its `info` says. The kind is `:pool`, `:rate_limiter` or
  `:ban`; see `Penstock.Pool.info/1`, `Penstock.RateLimiter.info/1` and `Penstock.Ban.info/1`.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.Listed, limit: 7)
      iex> gate = Enum.find(Penstock.list(), &(&1.name == MyApp.Listed))
      iex> {gate.kind, gate.limit}
      {:pool, 7}

  """
  @spec list() :: [%{required(:name) => atom, required(:kind) => :pool | :rate_limiter | :ban, optional(atom) => term}]
  def list do
    for name <- Enum.sort(Names.open()), info = info_if_running(name), do: info
  end

  # A gate may close between being named and being asked.
  defp info_if_running(name) do
    case Resolver.kind(name) do
      :pool -> Map.put(Pool.info(name), :kind, :pool)
      :limiter -> Map.put(RateLimiter.info(name), :kind, :rate_limiter)
      :ban -> Map.put(Ban.info(name), :kind, :ban)
      nil -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @doc """
  Prints every registered gate as a table, for people at a shell.

  Returns `:ok`. One line for each gate, by name: its kind, its status, and what it counts. `list/0`
  returns the same gates with all their figures.

  ## Example

      Penstock.table()

      name        kind          status
      MyApp.Api   rate_limiter  open    100 per 60000 ms, burst 100, 2 keys, 151 allowed, 3 denied
      MyApp.Jobs  pool          open    7 of 100 in use, 0 waiting, 0 rejected

  """
  @spec table() :: :ok
  def table, do: list() |> Table.format() |> IO.write()
end
