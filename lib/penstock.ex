defmodule Penstock do
  @moduledoc """
  Bounds how many processes an application creates.

  A *gate* decides whether work may start. A gate is a pool, a keyed pool, a rate limiter, a ban,
  or a `Penstock.Gate` of several:

    * a `Penstock.Pool` has a number of permits, and bounds how much work runs at once. Its count
      stays exact, no matter which process is killed and when
    * a `Penstock.KeyedPool` is a pool for each key, such as a user: no key takes the permits of
      another
    * a `Penstock.RateLimiter` bounds how often work starts, in total or for each key
    * a `Penstock.Ban` keeps out keys that failed too often
    * a `Penstock.Gate` asks several of these in one call, and admits only if all of them do

  Start gates under a supervisor, before the processes that use them:

      children = [
        {Penstock.Pool, name: MyApp.Jobs, limit: 100},
        {Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000}
      ]

  A function that takes a gate takes the `:name` of one, or the pool that `Penstock.Pool.new/1`
  returns. The functions of this module start work behind a gate:

    * `run/3` and `run!/3` run a function in the calling process
    * `spawn/3`, `spawn_link/3` and `spawn_monitor/3` create a process
    * `start_process/3` starts a process of any kind, by its own start function
    * `child_spec/3` puts a child of any supervisor behind a gate
    * `Penstock.Task` starts tasks, and streams of tasks
    * `Penstock.DynamicSupervisor` and `Penstock.Task.Supervisor` are supervisors whose children
      share one limit

  At the edge of a web application, `Penstock.Plug`, `Penstock.Socket` and `Penstock.Listener` put
  gates around its requests, its sockets and its connections.

  ## Waiting

  A caller can wait for the permits of a pool or a keyed pool. Limiters and bans answer at once.
  `run/3` waits up to 5 s by default, because its caller needs the result. The functions that
  create a process do not wait by default. `:timeout` changes these times, and `timeout: 0` means
  not to wait.

  > #### Waiting for oneself {: .warning}
  >
  > Work that waits on a gate while it holds permits of that gate can wait for itself. A single
  > process that does so gets `{:error, :deadlock}` from a pool, and waits until its timeout at a
  > keyed pool. Several processes that each hold a part of the permits and wait for the rest are
  > not detected: they wait until their timeouts. Use separate gates for parent and child work, or
  > `timeout: 0`.

  ## Refusals

  If a gate does not admit the caller, the call returns `{:error, reason}`. Then the work has not
  been started, and nothing is held, charged or reserved. A function whose name ends in `!` raises
  `Penstock.RejectedError` with the reason instead. These are all reasons, and what the caller can
  do:

    * `:full` - no permit is free and the caller does not wait, or the request exceeds the limit.
      Drop or defer the work, or wait with `:timeout`. A request above the limit never succeeds
    * `:key_full` - as `:full`, for the permits of one key of a keyed pool. Other keys are not
      affected: tell the client of this key to come back when its other work is done
    * `:table_full` - a keyed pool has no place for a new key, since `:max_keys` keys hold permits
      or wait. Drop or defer the work. Raise `:max_keys` if more keys are to be active at once
    * `:queue_full` - no permit is free, and `:max_waiting` requests wait already. Drop or defer
      the work: it would wait behind all of them
    * `:timeout` - the permits did not become free within `:timeout` ms. Drop or defer the work
    * `:closed` - the pool is draining, or was closed during the call. A draining pool refuses
      until it is reopened. A closed pool is not running: a further call raises until it is
      started again
    * `:deadlock` - the wait could never end, because the permits that the caller holds of the
      pool and those it asks for exceed the limit together. The program is wrong: see "Waiting".
      With `timeout: 0` the reason is `:full`. While the limit is 0, which pauses the pool, the
      caller waits instead
    * `:overloaded` - the pressure of the VM has reached the `:shed_at` of the gate: see
      `Penstock.VM`. Drop or defer the work
    * `{:rate_limited, retry_after_ms}` - the limiter allows the work after that time, unless a
      call charges the same key in the meantime
    * `{:rate_limited, :infinity}` - the cost exceeds the limiter's burst. A call at that cost
      never succeeds
    * `{:banned, retry_after_ms}` - the key is banned for that time
    * `{:banned, :infinity}` - the key is banned until `Penstock.Ban.unban/2`

  Only a call that can wait gets `:queue_full`, `:timeout` or `:deadlock`. A wrong argument, such
  as a gate that is not running, is no refusal: the call raises `ArgumentError`.

  ## Gates with keys

  The functions that start work behind a gate take `key: term`, and all but `child_spec/3` take
  `cost: number`. A limiter uses both, keyed pools and bans use the key, and a pool ignores both.
  Limiters and bans ignore `:permits`.

    * Without a key a limiter uses `:global`; keyed pools and bans raise `ArgumentError`. The key
      `nil` always raises
    * Work that a keyed pool admitted holds permits of its key, as work behind a pool does
    * Work that a limiter or a ban admitted holds no permit: it can run for any time
    * Only streams of tasks, as `Penstock.Task.async_stream/4` makes them, wait for their turns at
      a limiter. Other work does not wait for a limiter or a ban, regardless of `:timeout`
    * A restart under a supervisor asks no limiter and no ban

  A limiter's charge is not refunded if the start fails afterwards. A start fails if the VM
  refuses the process, the child's `init` fails, or a start function raises.

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Imports, limit: 1, per: 60_000)
      iex> {:ok, pid} = Penstock.spawn(MyApp.Imports, fn -> :ok end, key: "alice")
      iex> is_pid(pid)
      true
      iex> {:error, {:rate_limited, ms}} = Penstock.spawn(MyApp.Imports, fn -> :never end, key: "alice")
      iex> ms in 1..60_000
      true

  """

  alias Penstock.{Admission, Ban, Gate, KeyedPool, Native, Options, Pool, RateLimiter, RejectedError}
  alias Penstock.Admission.{Keyed, Names, Request, Resolver, Table}
  alias Penstock.Process.{Child, ChildStart, GatedChild}
  alias Penstock.Spawners.Run
  alias Penstock.Test.Ownership.Seam

  use Seam, gates: [:run, :spawn, :spawn_link, :spawn_monitor, :start_process]

  @typedoc "The name of a running gate of any kind, or a pool made by `Penstock.Pool.new/1`."
  @type gate :: atom | Pool.t()

  # The formatters of Elixir before and after 1.17 would write the type of a fun without arguments
  # in two ways. They all leave the quoted form in `work` as it is.
  @typedoc "A fun without arguments, which returns a `result`."
  @type work(result) :: unquote([{:->, [], [[], {:result, [], nil}]}])

  @typedoc "Why a gate refused: see \"Refusals\"."
  @type reason ::
          :full
          | :queue_full
          | :timeout
          | :closed
          | :deadlock
          | :key_full
          | :table_full
          | :overloaded
          | {:rate_limited, pos_integer | :infinity}
          | {:banned, pos_integer | :infinity}

  @typedoc "An option of `run/3`."
  @type run_option :: {:timeout, timeout} | {:permits, pos_integer} | {:key, term} | {:cost, pos_integer}

  @typedoc "An option of the functions that start a process."
  @type start_option :: run_option | {:max_runtime, pos_integer}

  @typedoc "An option of `spawn/3`, `spawn_link/3` and `spawn_monitor/3`."
  @type spawn_option :: run_option | {:max_runtime, pos_integer} | {:spawn_opt, list}

  @default_timeout 5_000
  @no_options %Request{timeout: @default_timeout}

  @doc """
  Runs `fun` in the calling process while it holds one permit, as `run/3` does without options.

  Returns `{:ok, value}` with the value of `fun`, or `{:error, reason}`. Waits up to 5 s for the
  permit. Raises as `run/3`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.run(pool, fn -> 6 * 7 end)
      {:ok, 42}

  """
  @spec run(gate, work(result)) :: {:ok, result} | {:error, reason} when result: term
  def run(gate, fun)

  # This is a function of its own, not a default argument of `run/3`. Nearly every call is this
  # one, and a further function call would add to its 60 ns.
  def run(gate, fun) when is_atom(gate) and is_function(fun, 0) do
    case Native.run_take_one(gate, self()) do
      :ok ->
        # Uses neither `after` nor `run_first/2`, because each would be one more function call.
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

  The permits are released however `fun` ends. Anything that `fun` raises, throws or exits with
  passes through unchanged. The permits are bound to this call: `Penstock.Pool.release/2` inside
  `fun` does not release them.

  Returns:

    * `{:ok, value}` - `fun` returned `value`
    * `{:error, reason}` - the gate refused and `fun` was not called; see
      [Refusals](#module-refusals)

  Raises `ArgumentError`, before it takes a permit, if `gate` is not a running gate, `fun` is not
  a function of arity 0, or an option is unknown or of the wrong kind.

  ## Options

  #{Request.docs(:run, 5_000)}

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.run(pool, fn -> 6 * 7 end)
      {:ok, 42}
      iex> Penstock.run(pool, fn -> Penstock.run(pool, fn -> :never end, timeout: 0) end)
      {:ok, {:error, :full}}

  """
  @spec run(gate, work(result), [run_option]) :: {:ok, result} | {:error, reason} when result: term
  def run(gate, fun, opts) do
    Options.fun!(fun)
    %{permits: permits} = request = Request.run!(opts, @default_timeout)
    ref = Resolver.ref!(gate)

    case Admission.ask(:run, ref, permits, request.timeout) do
      # The instance `:ok` is the first pool of a name. `run_end_one` releases one permit of that
      # pool, and is the quickest way to do so.
      {:ok, :ok} when permits == 1 -> run_first(ref, fun)
      answer -> run_asked(answer, gate, ref, request, fun)
    end
  end

  # Runs work that holds one permit of the first pool of a name. Has no `after`, because that
  # would call a further function when `fun` has returned.
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

  # The gate is no pool.
  defp run_asked(:no_pool, gate, ref, request, fun) do
    case Keyed.admit(:run, gate, request) do
      # Work behind a limiter or a ban holds nothing.
      {:ok, []} -> {:ok, fun.()}
      {:ok, set} -> run_admitted(ref, set, request.permits, fun)
      {:error, _reason} = refused -> refused
    end
  end

  defp run_asked(bad, gate, _ref, _request, _fun), do: Resolver.bad!(bad, gate)

  defp run_admitted(ref, instance, permits, fun) do
    {:ok, fun.()}
  after
    # The instance tells which pool admitted the work. That pool may have closed meanwhile, and
    # another pool may have its name.
    Native.run_end(ref, instance, permits)
  end

  @doc """
  Runs `fun` as `run/3` does, and returns the bare value of `fun`.

  Takes the options of `run/3`. Raises `Penstock.RejectedError` if the gate refuses, and
  otherwise as `run/3`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.run!(pool, fn -> 6 * 7 end)
      42
      iex> Penstock.run!(pool, fn -> :never end, permits: 2)
      ** (Penstock.RejectedError) #Penstock.Pool<in_use: 0, limit: 1> did not admit: :full (2 permits were asked for, above the limit of 1)

  """
  @spec run!(gate, work(result), [run_option]) :: result when result: term
  def run!(gate, fun, opts \\ []) do
    case run(gate, fun, opts) do
      {:ok, value} -> value
      {:error, reason} -> raise RejectedError, gate: gate, reason: reason, permits: Keyword.get(opts, :permits, 1)
    end
  end

  @doc """
  Creates a process that calls `fun`, if the gate admits it.

  The process holds its permits until it dies, by any exit. Its own code can neither release nor
  transfer them. If the caller is killed during the call, either `fun` is not called and nothing
  is held, or a process calls `fun` and holds the permits.

  Returns:

    * `{:ok, pid}`
    * `{:error, reason}` - the gate refused and no process was created; see
      [Refusals](#module-refusals)

  Raises `ArgumentError`, before it takes a permit, if `gate` is not a running gate, `fun` is not
  a function of arity 0, or an option is unknown or of the wrong kind.

  Raises after the admission as well: `ArgumentError` if options of `:spawn_opt` are not valid
  together, and `SystemLimitError` if the VM has no room for another process. In both cases the
  permits are free again, but a limiter's charge is not refunded.

  ## Options

  #{Request.docs(:start, 0)}
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
  @spec spawn(gate, work(term), [spawn_option]) :: {:ok, pid} | {:error, reason}
  def spawn(gate, fun, opts \\ []), do: Child.start(gate, fun, opts, [])

  @doc """
  Creates a process as `spawn/3` does, and links it to the caller.

  Returns `{:ok, pid}` or `{:error, reason}`. Takes the options of `spawn/3`, and raises as it
  does.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.spawn_link(pool, fn -> receive do: (:stop -> :ok) end)
      iex> pid in elem(Process.info(self(), :links), 1)
      true

  """
  @spec spawn_link(gate, work(term), [spawn_option]) :: {:ok, pid} | {:error, reason}
  def spawn_link(gate, fun, opts \\ []), do: Child.start(gate, fun, opts, [:link])

  @doc """
  Creates a process as `spawn/3` does, and monitors it.

  Returns `{:ok, {pid, reference}}` or `{:error, reason}`. Takes the options of `spawn/3`, and
  raises as it does.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, {pid, ref}} = Penstock.spawn_monitor(pool, fn -> exit(:done) end)
      iex> receive do: ({:DOWN, ^ref, :process, ^pid, reason} -> reason)
      :done

  """
  @spec spawn_monitor(gate, work(term), [spawn_option]) :: {:ok, {pid, reference}} | {:error, reason}
  def spawn_monitor(gate, fun, opts \\ []), do: Child.start(gate, fun, opts, [:monitor])

  @doc """
  Starts a process by its own start function, if the gate admits it.

  `start` is `{module, function, args}` or a function of arity 0. It must start an OTP process, as
  `GenServer.start_link/3` does. The calling process calls `start`, and holds the permits during
  that call. After that the started process holds the permits until it dies.

  Returns:

    * `{:error, reason}` - the gate refused and `start` was not called; see
      [Refusals](#module-refusals)
    * otherwise the result of `start`. After `{:ok, pid}` and `{:ok, pid, info}` with a process of
      this node, that process holds the permits. After any other result, such as `:ignore` or
      `{:error, reason}`, they are free again

  Anything that `start` raises, throws or exits with passes through, and the permits are released.
  A limiter's charge is not refunded, regardless of the result of `start`.

  Raises `ArgumentError`, before it takes a permit, if `gate` is not a running gate, `start` is
  not of the right form, or an option is unknown or of the wrong kind.

  If the caller is killed while `start` runs, the permits return. If `start` had already created a
  process, that process is not counted.

  ## Options

  #{Request.docs(:start, 0)}

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, agent} = Penstock.start_process(pool, {Agent, :start_link, [fn -> 1 end]})
      iex> Penstock.start_process(pool, fn -> Agent.start_link(fn -> 2 end) end)
      {:error, :full}
      iex> Agent.stop(agent)
      iex> {:ok, _agent} = Penstock.start_process(pool, {Agent, :start_link, [fn -> 3 end]}, timeout: 1_000)

  """
  @spec start_process(gate, {module, atom, [term]} | work(term), [start_option]) :: {:error, reason} | term
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
  Wraps a child spec so that every start of the child passes the gate, under any supervisor.

  `child_spec` is a map, a module or `{module, arg}`, as in `Supervisor.child_spec/2`, or a tuple
  of six elements as in old Erlang. Returns a child spec map with the same values, except for
  `:start`, which asks the gate first, and `:modules`, which is filled in if it was missing. Each
  child takes one permit and holds it until it dies.

  Raises `ArgumentError` if `gate` is not of the right form, `child_spec` is not a child spec, an
  option is unknown or of the wrong kind, or a keyed pool or a ban gets no `:key`. The gate can be
  started later.

  ## Options

    * `:key` - the key by which a keyed pool, a limiter or a ban decides, on every start: any term
      but `nil`. Keyed pools and bans require a key; a limiter without one uses `:global`; pools
      ignore it
    * `:keys` - the keys of single limits of a `Penstock.Gate`, as a map of their names to keys. It
      goes before `:key`

  ## Starts and restarts

  The supervisor asks the gate and does not wait. If the gate refuses, the result depends on the
  kind of the start:

    * a *start*, by `start_child` or `restart_child`, fails with a reason of
      [Refusals](#module-refusals). `DynamicSupervisor.start_child/2` and
      `Supervisor.restart_child/2` return `{:error, reason}`. `Supervisor.start_child/2` returns
      `{:error, {reason, child}}`, with the child as Erlang describes it
    * a *restart* of a child that died takes over the permit of the dead child, if that permit is
      not back yet. If another process holds it already, the restart exceeds the limit: by at most
      the pool's `:max_overdraft`, or up to the permits that were in use when
      `Penstock.Pool.update/2` lowered the limit. The pool admits no other work until this
      overdraft is paid back. Beyond these bounds the restart fails. The supervisor's
      `:max_restarts` then decides whether the supervisor tries again or ends
    * a child that is started while its supervisor initialises counts as a restart, because the
      supervisor may itself be restarting

  A start asks a limiter with a cost of 1. Restarts, and children that are started while their
  supervisor initialises, ask no limiter and no ban.

  At a keyed pool all of this holds for each key: a restart exceeds the limit of its key by at most
  `:max_overdraft`. A restart whose key has lost its place meanwhile, while all places are in use,
  fails with `:table_full`.

  If the gate is draining or gone, a restart proceeds without a permit and logs a warning, because
  a gate must not take down a working supervision tree. A start gets `{:error, :closed}` from a
  pool that is draining, and fails with an `ArgumentError` if no gate has the name any more. If no
  gate ever had the name in this VM, the name is misspelt, or the gate comes later in the tree.
  Each start then fails with an `ArgumentError`, also while a supervisor initialises.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> spec = Penstock.child_spec({Agent, fn -> 1 end}, pool)
      iex> {:ok, supervisor} = DynamicSupervisor.start_link([])
      iex> {:ok, _agent} = DynamicSupervisor.start_child(supervisor, spec)
      iex> DynamicSupervisor.start_child(supervisor, spec)
      {:error, :full}

  """
  @spec child_spec(Supervisor.child_spec() | {module, term} | module | tuple, gate, key: term, keys: map) ::
          Supervisor.child_spec()
  def child_spec(child_spec, gate, opts \\ []) do
    in_order!(child_spec, gate)
    %{key: key, keys: keys} = Request.child!(opts)

    if key == :none and Resolver.kind(Resolver.ref!(Seam.gate(gate))) in [:ban, :keyed_pool], do: Keyed.no_key!(gate)

    case GatedChild.spec(child_spec) do
      %{start: {module, function, args} = start} = spec when is_atom(module) and is_atom(function) and is_list(args) ->
        GatedChild.child_spec(spec, %GatedChild{gate: gate, start: start, key: key, keys: keys})

      # Not a child spec. It is returned unchanged, so that the supervisor reports the error.
      no_spec ->
        no_spec
    end
  end

  @spec_first "the child spec comes first: child_spec(child_spec, gate)"

  # Raises if the caller passed the gate before the child spec. An atom in place of the child spec
  # counts as a gate only if a gate has that name and no module has.
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
  Returns every registered gate with its figures, sorted by name.

  Returns a list of maps. Each map has `:name`, and `:kind`, which is `:pool`, `:keyed_pool`,
  `:rate_limiter`, `:ban` or `:gate`. `Penstock.Gate.explain/2` calls a rate limiter `:limiter`.
  Each map also has the figures of `info/1` of the module of that kind, such as
  `Penstock.Pool.info/1`. Pools without a name are not in the list. In a shell, `table/0` is
  easier to read.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.Listed, limit: 7)
      iex> gate = Enum.find(Penstock.list(), &(&1.name == MyApp.Listed))
      iex> {gate.kind, gate.limit}
      {:pool, 7}

  """
  @spec list() :: [%{required(:name) => atom, required(:kind) => kind, optional(atom) => term}]
        when kind: :pool | :keyed_pool | :rate_limiter | :ban | :gate
  def list do
    for name <- Enum.sort(Names.open()), info = info_if_running(name), do: info
  end

  # Returns nil if the gate has closed since `Names.open/0` named it. If the gate closes after
  # `kind/1`, `info/1` raises.
  defp info_if_running(name) do
    case Resolver.kind(name) do
      :pool -> Map.put(Pool.info(name), :kind, :pool)
      :gate -> Map.put(Gate.info(name), :kind, :gate)
      :keyed_pool -> Map.put(KeyedPool.info(name), :kind, :keyed_pool)
      :limiter -> Map.put(RateLimiter.info(name), :kind, :rate_limiter)
      :ban -> Map.put(Ban.info(name), :kind, :ban)
      nil -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @doc """
  Prints every registered gate as a table, for people at a shell.

  Returns `:ok`. Each gate has one line, sorted by name: its kind, its status and its main
  figures. `list/0` returns the same gates with all their figures.

  ## Examples

      Penstock.table()

      name        kind          status
      MyApp.Api   rate_limiter  open    100 per 60000 ms, burst 100, 2 keys, 151 allowed, 3 denied
      MyApp.Jobs  pool          open    7 of 100 in use, 0 waiting, 0 rejected

  """
  @spec table() :: :ok
  def table, do: list() |> Table.format() |> IO.write()

  @typedoc """
  A row of `spawners/1`: the function of created processes, and what the process that created them
  runs.
  """
  @type spawner :: %{
          mfa: {module, atom, arity},
          by: {module, atom, arity} | nil,
          spawned: pos_integer,
          alive: non_neg_integer,
          per_second: float
        }

  @doc """
  Returns which processes this node creates, and who creates them, for the next `ms` ms.

  For a person at a shell, who sees the count of processes grow and asks where they come from. It is
  safe on a busy node in production, unless processes are created with megabytes of arguments: see
  "Tracing". The call takes `ms` ms, by default 5,000, and up to a second
  more if the node is too busy to answer. The first call on a node that loads modules when they are
  needed also waits for the code server, before the `ms` ms begin.

  Returns a list of maps, one for each function and creator, with most processes first:

    * `:mfa` - the function that the processes run. For a process of `Task`, `GenServer`,
      `:proc_lib` or Penstock it is the user's function, and for a server `init/1` of its module
    * `:by` - what the creating process runs, as its stack shows shortly after: the innermost
      function that is not one of OTP, Elixir or Penstock that creates processes. A server that
      waits for a request is named by its initial call, before OTP 26.2 by the loop that it waits
      in. `nil` if the creating process is dead by then, is on another node, or does not answer in
      time. At most 100 creators are asked in a tenth of a second; the others have `nil`. One
      creator may have several rows, for it is asked again later, and may run something else then
    * `:spawned` - how many of these processes were created
    * `:alive` - how many of them are alive at the end
    * `:per_second` - `:spawned` per second, a float

  Returns `{:error, :busy}` if another call is running on this node. Before OTP 27, returns
  `{:error, :tracing}` if another tool traces all new processes. Raises `ArgumentError` if `ms` is
  not an integer between 1 and 60,000.

  ## Exactness

  Up to some 3,000 processes a second, every one is counted. Of more, a slice of each of some 10
  windows a second is counted, up to 500 processes, and the figures are estimates in proportion. The
  figure of a creator that keeps a steady pace is then near to the truth, within a half of it, and a
  row of few processes may be missing. A process that creates as fast as it can is slower while it is
  counted, so its figure is too low: from a half down to a seventh of the truth. `:alive` is an
  estimate for a row of more than 512 processes.

  `Task.async/1` and its like send the function to the task after they created it. So `:mfa` is a
  function of `Task.Supervised` if all tasks of a row ended before one could be asked. `:by` still
  names the function that created the tasks. Before OTP 26.2, the function of such a task is the
  outermost one on its stack, whose arity includes the variables that a fun closes over.

  ## Tracing

  From OTP 27 on, the trace session is one of its own: no other tracing is disturbed. Before that, a
  process has one tracer. A process that is created while it is counted has that of this call, and
  other tools cannot trace it until the call ends. A process that inherits a tracer by
  `set_on_spawn` is not counted. If the caller or any process of the call is killed, the tracing
  ends.

  Each trace message has a copy of the arguments of the created process, with all that its fun
  closes over. The counting stops for the rest of a window as soon as the tracer finds 16 MB in its
  memory. This is no hard bound: a creator of large processes may create many before the tracer runs.
  Funs with 160 kB each took up to 80 MB. Funs with 10 MB each, made by a process that kept its
  scheduler for a second, took up to 1 GB.

  ## Examples

      iex> rows = Penstock.spawners(10)
      iex> Enum.all?(rows, &(&1.alive <= &1.spawned))
      true

  A node whose `MyApp.Mailer` starts tasks without a gate answers:

      [
        %{
          mfa: {MyApp.Mailer, :"-deliver_all/1-fun-0-", 1},
          by: {MyApp.Mailer, :deliver_all, 1},
          spawned: 48_210,
          alive: 31_004,
          per_second: 9642.0
        }
      ]

  """
  @spec spawners(pos_integer) :: [spawner] | {:error, :busy | :tracing}
  def spawners(ms \\ 5_000), do: ms |> Options.counted_ms!() |> Run.run()
end
