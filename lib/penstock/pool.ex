defmodule Penstock.Pool do
  @moduledoc """
  A counting semaphore: at most `:limit` permits are held at any time, no matter which process is
  killed or when.

      children = [
        {Penstock.Pool, name: MyApp.Jobs, limit: 100}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  A permit belongs to the process that acquired it. The permit comes back when that process
  releases it or dies, by any exit. No code has to rescue, trap exits or clean up:

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.Jobs, limit: 1)
      iex> Penstock.Pool.acquire(MyApp.Jobs)
      :ok
      iex> Penstock.Pool.try_acquire(MyApp.Jobs)
      {:error, :full}
      iex> Penstock.Pool.release(MyApp.Jobs)
      :ok

  To acquire or to release a permit takes one native call, and involves no other process.

  Most code calls neither `acquire/2` nor `release/2`. A pool is a *gate*: the functions of
  `Penstock` ask it before they start work. `Penstock.run/3` holds a permit while a function runs,
  `Penstock.spawn/3` while a process lives. These permits are *bound* to their work: `release/2`
  cannot release them, and `transfer/3` cannot transfer them.

  ## Waiting

  `acquire/2` parks the caller in a `receive` until permits are granted to it: the caller is then
  a *waiter*. Waiters are served first come, first served. At most `:max_waiting` requests wait.
  `try_acquire/2` never overtakes a waiter. Small requests do not starve a large request at the
  head of the queue: the small ones wait until the large one has been served.

  A process can hold permits and acquire more. If the held and the requested permits together
  exceed the limit, the process would wait for itself. So it gets `{:error, :deadlock}` at once.

  A process that must not block, such as a `GenServer`, waits by a message: see `acquire_async/2`.

  A pool also grants permits to a waiter that is suspended (`:erlang.suspend_process/1`). The
  waiter then holds these permits, unused, until it is resumed or killed.

  ## Under a supervisor

  The process that `start_link/1` starts is the *owner*. No permit ever passes through it.

  When the owner ends with the reason `:normal`, `:shutdown` or `{:shutdown, term}`, it closes the
  pool. Waiters get `{:error, :closed}`, and holders run on, but the pool does not count them any
  more. So a pool must outlive its users. Start the pool before its users, because a supervisor
  stops its last child first. Do not put both under one `:one_for_all` supervisor, because that
  supervisor would stop the owner when a user crashes.

  When the owner crashes or is killed, holders, waiters and counts stay as they are. The next
  `start_link/1` of the name adopts the pool. An option of that call takes effect if it differs
  from the same option of the crashed owner. If it does not differ, the value that `update/2` gave
  stays. If no owner adopts the pool within 60 s, the pool closes.

  A second `start_link/1` of the name, for example in a notebook, returns
  `{:error, {:already_started, pid}}`, and the old limit stays. In a notebook, start the pool
  under a supervisor, or call `update/2`. Concurrent tests that use one name share the limit of
  one pool. In tests, use `new/1` or `limit: :infinity`.

  ## What is not counted

    * Native code that continues after its process was killed inside a dirty NIF
    * Work that outlives a closed pool
    * Work of another node: a permit acquired through `:erpc` ends with the temporary process of
      that call

  """

  alias Penstock.{Admission, Native, Options}
  alias Penstock.Admission.{AsyncWait, Request, Resolver, Wait}
  alias Penstock.Node.Owner
  alias Penstock.Options.PoolSettings
  alias Penstock.Process.PoolReport
  alias Penstock.Test.Ownership.Seam

  use Seam,
    gates: [
      :try_acquire,
      :acquire,
      :acquire_async,
      :cancel,
      :release,
      :transfer,
      :update,
      :info,
      :holders,
      :drain,
      :reopen
    ],
    shown: [:info]

  @enforce_keys [:ref]
  defstruct [:ref]

  @typedoc """
  A pool without a name, as `new/1` makes it. It is local to this node, and the struct is opaque.
  """
  @type t :: %__MODULE__{ref: reference}

  @typedoc "The name of a running pool, or a pool made by `new/1`."
  @type pool :: atom | t

  @typedoc "An option of `start_link/1`. All except `:name` are options of `new/1` too."
  @type option ::
          {:name, atom}
          | {:limit, non_neg_integer | :infinity}
          | {:max_waiting, non_neg_integer}
          | {:max_overdraft, non_neg_integer | :infinity}
          | {:held_longer_than, pos_integer}

  @typedoc "The result of `info/1`."
  @type info :: %{
          :name => atom | nil,
          :status => :open | :draining | :closed,
          :owner => pid | nil,
          :limit => non_neg_integer | :infinity,
          :in_use => non_neg_integer,
          :available => non_neg_integer | :infinity,
          :overdraft => non_neg_integer,
          :waiting => non_neg_integer,
          :max_waiting => non_neg_integer,
          :holders => non_neg_integer,
          :peak => non_neg_integer,
          :acquired => non_neg_integer,
          :rejected => non_neg_integer,
          :timed_out => non_neg_integer,
          :released_by_exit => non_neg_integer,
          optional(:held_longer_than) => non_neg_integer,
          :killed => non_neg_integer
        }

  @default_timeout 5_000

  @doc """
  Returns the child spec of a pool, with the id `{Penstock.Pool, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.Pool.child_spec(name: MyApp.Uploads, limit: 5).id
      {Penstock.Pool, MyApp.Uploads}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts the owner of a pool, and links it to the caller.

  If the last owner of that name crashed, the new owner adopts its pool: see "Under a supervisor".

  Returns:

    * `{:ok, pid}` - `pid` is the owner
    * `{:error, {:already_started, pid}}` - the live process `pid` owns a gate of that name. If
      the gate is not a pool, a warning is logged
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or of the wrong kind.

  ## Options

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:limit` - the most permits held at once: 0 to 2_147_483_647, or `:infinity`; required. 0 is
      a pause: requests of any size wait. With `:infinity` the pool counts, but is never full
    * `:max_waiting` - the most requests that can wait at a time: 0 to 2_147_483_647. Default
      `1_000`. A large number costs no memory until requests wait
    * `:max_overdraft` - the most permits that restarts under a supervisor can take beyond the
      limit: 0 to 2_147_483_647, or `:infinity`. Default: the limit, also when `update/2` changes
      it
    * `:held_longer_than` - a time in ms, 1 to 2_147_483_647, exact to about 10 ms. `info/1`
      counts the holders that have held permits for longer. The option costs time only in
      `info/1`. Default: `info/1` does not count such holders

  ## Examples

      iex> {:ok, pid} = Penstock.Pool.start_link(name: MyApp.Uploads, limit: 10)
      iex> {:error, {:already_started, ^pid}} = Penstock.Pool.start_link(name: MyApp.Uploads, limit: 10)
      iex> Penstock.Pool.info(MyApp.Uploads).available
      10

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name | PoolSettings.names()])
    name = Options.name!(Options.fetch!(opts, :name, "{Penstock.Pool, name: MyApp.Jobs, limit: 100}"))
    settings = PoolSettings.read!(opts)
    Owner.start_link(name, :pool, &Native.pool_start(name, &1, settings))
  end

  @doc """
  Makes a pool without a name, which is closed when no process refers to it.

  Returns `%Penstock.Pool{}`. Takes the options of `start_link/1` except `:name`, and raises as it
  does.

  The next call of `new/1` reuses the memory of a closed pool. The memory never returns to the
  system, so it stays at its peak: the largest number of pools that existed at once, each with
  room for the largest number of living processes that had acquired from it.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 2)
      iex> Penstock.Pool.try_acquire(pool, 2)
      :ok
      iex> Penstock.Pool.try_acquire(pool)
      {:error, :full}

  """
  @spec new([option]) :: t
  def new(opts) do
    if Keyword.keyword?(opts) and Keyword.has_key?(opts, :name) do
      raise ArgumentError, "Pool.new/1 takes no :name; use start_link/1"
    end

    %__MODULE__{ref: Native.pool_new(PoolSettings.read!(Options.known!(opts, PoolSettings.names())))}
  end

  @doc """
  Acquires one permit if it is free, as `try_acquire/2` does.

  Returns `:ok`, `{:error, :full}` or `{:error, :closed}`. Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.Pool.try_acquire(pool)
      :ok
      iex> Penstock.Pool.try_acquire(pool)
      {:error, :full}

  """
  @spec try_acquire(pool) :: :ok | {:error, :full | :closed}
  def try_acquire(pool)

  # This is a function of its own, without a default argument, because nearly every call has one
  # argument, and this function is quicker than `try_acquire/2`.
  def try_acquire(pool) when is_atom(pool) do
    case Native.pool_try_one(pool, self()) do
      :ok -> :ok
      other -> tried(other, pool, 1)
    end
  end

  def try_acquire(pool), do: try_acquire(pool, 1)

  @doc """
  Acquires permits for the calling process if they are free. Neither waits nor overtakes waiters.

  Returns:

    * `:ok` - the caller holds the permits until it releases them, or dies
    * `{:error, :full}` - fewer than `permits` are free, or waiters are ahead of the caller
    * `{:error, :closed}` - the pool is draining or closed

  A caller that has received the `:DOWN` or EXIT of a holder finds that holder's permits free,
  unless another process took them. On a pool of more than 8 holders, and in rare races on a
  smaller pool, the permits may return a few microseconds later, when the pool's own monitor has
  run. `acquire/2` is not affected, because it waits for the permits.

  Raises `ArgumentError` if `pool` is not a running pool, or `permits` is not an integer between 1
  and 2_147_483_647.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 3)
      iex> Penstock.Pool.try_acquire(pool, 2)
      :ok
      iex> Penstock.Pool.try_acquire(pool, 2)
      {:error, :full}

  """
  @spec try_acquire(pool, pos_integer) :: :ok | {:error, :full | :closed}
  def try_acquire(pool, permits)

  def try_acquire(pool, permits) when is_atom(pool) do
    case Native.pool_try(pool, permits) do
      :ok -> :ok
      other -> tried(other, pool, permits)
    end
  end

  def try_acquire(pool, permits) do
    case Native.pool_try(Resolver.pool!(pool), permits) do
      :ok -> :ok
      other -> tried(other, pool, permits)
    end
  end

  # `:again`: the work is too long for one native call. For example, the call must pass thousands
  # of idle entries in its search for dead holders, or serve dozens of waiters. `Admission.ask/4`
  # repeats the call until the native side decides.
  defp tried(:again, pool, permits),
    do: asked(Admission.ask(:manual, Resolver.pool!(pool), permits, 0), pool, permits)

  defp tried(reason, _pool, _permits) when reason in [:full, :closed], do: {:error, reason}
  defp tried(bad, pool, permits), do: bad!(bad, pool, permits)

  @doc """
  Acquires permits for the calling process, and waits for them if they are not free.

  Returns:

    * `:ok` - the caller holds the permits until it releases them, or dies
    * `{:error, :full}` - the request exceeds the limit, which `update/2` may have lowered during
      the call. With `timeout: 0`, also if the permits are not free
    * `{:error, :queue_full}` - the permits are not free, and `:max_waiting` requests wait already
    * `{:error, :timeout}` - the permits did not become free in time
    * `{:error, :closed}` - the pool is draining or closed, or became so during the call
    * `{:error, :deadlock}` - the caller would wait for itself. The permits of the pool that it
      holds, by any function, and the requested permits together exceed the limit. With
      `timeout: 0` the reason is `:full`. While the limit is 0, the caller waits

  Raises as `try_acquire/2`, and on an option that is unknown or of the wrong kind.

  The pool does not detect a deadlock of two processes, where each holds permits that the other
  waits for. Both wait until their timeouts. Use separate pools for parent and child work, or
  `timeout: 0`.

  ## Options

    * `:permits` - how many permits: 1 to 2_147_483_647. Default `1`
    * `:timeout` - how long to wait, in ms or `:infinity`. Default `5_000`

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 3)
      iex> Penstock.Pool.acquire(pool, permits: 2)
      :ok
      iex> Penstock.Pool.acquire(pool, permits: 2)
      {:error, :deadlock}
      iex> Task.await(Task.async(fn -> Penstock.Pool.acquire(pool, permits: 2, timeout: 10) end))
      {:error, :timeout}

  """
  @spec acquire(pool, permits: pos_integer, timeout: timeout) ::
          :ok | {:error, :full | :queue_full | :timeout | :closed | :deadlock}
  def acquire(pool, opts \\ [])
  def acquire(pool, []), do: acquire(pool, 1, @default_timeout)

  def acquire(pool, opts) do
    %{permits: permits, timeout: timeout} = Request.wait!(opts, @default_timeout)
    acquire(pool, permits, timeout)
  end

  defp acquire(pool, permits, 0), do: try_acquire(pool, permits)

  defp acquire(pool, permits, timeout) do
    ref = Resolver.pool!(pool)

    case Native.pool_take(ref, permits) do
      :ok -> :ok
      :busy -> asked(Wait.park(ref, :manual, permits, timeout), pool, permits)
      bad -> bad!(bad, pool, permits)
    end
  end

  defp asked({:ok, _held}, _pool, _permits), do: :ok
  defp asked({:error, _reason} = refused, _pool, _permits), do: refused
  defp asked(bad, pool, permits), do: bad!(bad, pool, permits)

  @doc """
  Requests permits for the calling process without blocking it. The answer comes as a message.

  Returns `{:ok, ref}`. The caller then gets exactly one message, even if the answer is known at
  once:

    * `{ref, :ok}` - the caller holds the permits, and held them before the message came. Release
      them by `release/2`, or pass them on by `transfer/3`
    * `{ref, {:error, reason}}` - the pool refused. `reason` is `:full`, `:queue_full`, `:timeout`
      or `:closed`, as in `acquire/2`. It is never `:deadlock`, because a caller that does not
      block can still release the permits that its request waits for

  The request waits in the same queue as those of `acquire/2`, and counts towards `:max_waiting`.
  A process can have many such requests. `cancel/2` withdraws one of them, and the death of the
  process ends all.

  A process with such a request can also block in `acquire/2`. If the pool then grants permits to
  the request, the process may be waiting for permits that it holds itself.

  Raises `ArgumentError` as `acquire/2` does.

  ## Options

    * `:permits` - how many permits: 1 to 2_147_483_647. Default `1`
    * `:timeout` - how long to wait, in ms or `:infinity`. Default `5_000`. The message with
      `:timeout` may come about 25 ms late

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, first} = Penstock.Pool.acquire_async(pool)
      iex> receive do: ({^first, answer} -> answer)
      :ok
      iex> {:ok, second} = Penstock.Pool.acquire_async(pool, timeout: 0)
      iex> receive do: ({^second, answer} -> answer)
      {:error, :full}
      iex> Penstock.Pool.release(pool)
      :ok

  A server requests a permit and goes on. Its `handle_info/2` gets the answer. The server below
  runs each job in a task, and transfers a permit to that task. The permit returns when the task
  ends.

      iex> defmodule MyApp.Encoder do
      ...>   use GenServer
      ...>
      ...>   def init(pool), do: {:ok, %{pool: pool, jobs: %{}}}
      ...>
      ...>   def handle_call({:encode, job}, from, state) do
      ...>     {:ok, ref} = Penstock.Pool.acquire_async(state.pool, timeout: 30_000)
      ...>     {:noreply, put_in(state.jobs[ref], {from, job})}
      ...>   end
      ...>
      ...>   def handle_info({ref, answer}, state) when is_map_key(state.jobs, ref) do
      ...>     {{from, job}, jobs} = Map.pop!(state.jobs, ref)
      ...>     start(answer, from, job, state.pool)
      ...>     {:noreply, %{state | jobs: jobs}}
      ...>   end
      ...>
      ...>   defp start(:ok, from, job, pool) do
      ...>     {:ok, task} = Task.start_link(fn -> GenServer.reply(from, {:ok, job.()}) end)
      ...>     Penstock.Pool.transfer(pool, task)
      ...>   end
      ...>
      ...>   defp start({:error, _reason} = refused, from, _job, _pool) do
      ...>     GenServer.reply(from, refused)
      ...>   end
      ...> end
      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, encoder} = GenServer.start_link(MyApp.Encoder, pool)
      iex> GenServer.call(encoder, {:encode, fn -> :encoded end})
      {:ok, :encoded}

  """
  @spec acquire_async(pool, permits: pos_integer, timeout: timeout) :: {:ok, reference}
  def acquire_async(pool, opts \\ []) do
    %{permits: permits, timeout: timeout} = Request.wait!(opts, @default_timeout)

    case AsyncWait.ask(Resolver.pool!(pool), permits, timeout) do
      {:ok, ref} -> {:ok, ref}
      bad -> bad!(bad, pool, permits)
    end
  end

  @doc """
  Withdraws a request of `acquire_async/2`.

  Returns `:ok`. After that the mailbox has no message of `ref` and gets none. If the pool has
  granted the request, and the caller has not received the message, the permits are free again.

  Does nothing in two cases:

    * `ref` is unknown, belongs to another process or pool, or was cancelled before
    * The caller has received the message of `ref`. If the answer was `:ok`, the caller holds the
      permits until `release/2`

  Raises as `try_acquire/2`, and if `ref` is not a reference.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, ref} = Penstock.Pool.acquire_async(pool)
      iex> Penstock.Pool.cancel(pool, ref)
      :ok
      iex> Penstock.Pool.info(pool).in_use
      0

  """
  @spec cancel(pool, reference) :: :ok
  def cancel(pool, ref) do
    case AsyncWait.cancel(Resolver.pool!(pool), ref) do
      :ok -> :ok
      :badarg -> Options.expected!("ref", "a reference", ref)
      :no_pool -> Resolver.bad_pool!(:no_pool, pool)
    end
  end

  @doc """
  Releases one permit of the calling process, as `release/2` does.

  Returns `:ok` or `{:error, :not_held}`. Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> :ok = Penstock.Pool.acquire(pool)
      iex> Penstock.Pool.release(pool)
      :ok

  """
  @spec release(pool) :: :ok | {:error, :not_held}
  def release(pool)

  def release(pool) when is_atom(pool) do
    case Native.pool_release_one(pool, self()) do
      :ok -> :ok
      other -> released(other, pool, 1)
    end
  end

  def release(pool), do: release(pool, 1)

  @doc """
  Releases permits that the calling process got by `acquire/2`, `try_acquire/2`, `acquire_async/2`
  or `transfer/3`.

  Returns:

    * `:ok` - the permits are free, or have passed to waiters
    * `{:error, :not_held}` - the caller holds fewer such permits; nothing is released. Permits
      that are bound to a `Penstock.run/3`, or to a process behind the pool, do not count: they
      return when that work ends

  Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 2)
      iex> :ok = Penstock.Pool.acquire(pool, permits: 2)
      iex> Penstock.Pool.release(pool, 2)
      :ok
      iex> Penstock.Pool.release(pool)
      {:error, :not_held}

  """
  @spec release(pool, pos_integer) :: :ok | {:error, :not_held}
  def release(pool, permits) do
    released(Native.pool_release(Resolver.pool!(pool), permits), pool, permits)
  end

  defp released(:ok, _pool, _permits), do: :ok
  defp released(:not_held, _pool, _permits), do: {:error, :not_held}
  defp released(bad, pool, permits), do: bad!(bad, pool, permits)

  @doc """
  Transfers permits of the calling process to another process of this node.

  Returns:

    * `:ok` - `pid` holds the permits: `pid` can release them, and its death releases them
    * `{:error, :not_held}` - the caller holds fewer permits that `release/2` could release;
      nothing has changed
    * `{:error, :noproc}` - `pid` is dead; the permits are free again

  Raises as `try_acquire/2`, and if `pid` is not a process of this node.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> :ok = Penstock.Pool.acquire(pool)
      iex> heir = spawn(fn -> receive do: (:stop -> :ok) end)
      iex> Penstock.Pool.transfer(pool, heir)
      :ok
      iex> [%{pid: ^heir}] = Penstock.Pool.holders(pool)
      iex> Penstock.Pool.release(pool)
      {:error, :not_held}

  """
  @spec transfer(pool, pid, pos_integer) :: :ok | {:error, :not_held | :noproc}
  def transfer(pool, pid, permits \\ 1) do
    ref = Resolver.pool!(pool)
    Options.permits!(permits, "permits")

    case Native.pool_transfer(ref, pid, permits) do
      :ok -> :ok
      reason when reason in [:not_held, :noproc] -> {:error, reason}
      # The number of permits has been checked, so the pid is wrong. For example, the node has
      # restarted since it had a process of this pid.
      :badarg -> Options.expected!("pid", "a process of this node", pid)
      :no_pool -> Resolver.bad_pool!(:no_pool, pool)
    end
  end

  @doc """
  Changes the limits of a running pool.

  A larger limit serves waiters at once. A limit below the number of held permits leaves an
  *overdraft*. No process is killed, but the pool admits no further work until enough permits are
  released. Requests that wait for more permits than the new limit get `{:error, :full}`. If the
  new limit is 0, these requests wait on.

  Returns `:ok`. Raises as `try_acquire/2`, and on an option that is unknown or of the wrong kind.

  ## Options

    * `:limit` - the most permits held at once: 0 to 2_147_483_647, or `:infinity`. 0 is a pause:
      requests of any size wait. Default: unchanged
    * `:max_waiting` - the most requests that can wait at a time: 0 to 2_147_483_647. Default:
      unchanged

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 2)
      iex> :ok = Penstock.Pool.acquire(pool, permits: 2)
      iex> Penstock.Pool.update(pool, limit: 1)
      :ok
      iex> Penstock.Pool.info(pool).overdraft
      1

  """
  @spec update(pool, limit: non_neg_integer | :infinity, max_waiting: non_neg_integer) :: :ok
  def update(pool, opts) do
    {limit, max_waiting} = PoolSettings.changes!(opts)

    case Native.pool_update(Resolver.pool!(pool), limit, max_waiting) do
      :ok -> :ok
      bad -> Resolver.bad_pool!(bad, pool)
    end
  end

  @doc """
  Returns the state and the totals of a pool.

  The result is a map:

    * `:name` - `nil` for a pool made by `new/1`
    * `:owner` - the pid of the owner, also if that process has crashed; `nil` for a pool made by
      `new/1`
    * `:status` - `:open`, `:draining` or `:closed`
    * `:limit`, `:max_waiting` - the values in force
    * `:in_use` - permits held
    * `:available` - permits free; `:infinity` if the limit is `:infinity`
    * `:overdraft` - permits held beyond the limit
    * `:holders` - processes that hold permits
    * `:waiting` - requests that wait
    * `:peak` - the most permits that were held at once
    * `:acquired` - requests admitted
    * `:rejected` - requests that got `:full`, `:queue_full` or `:closed`
    * `:timed_out` - requests that got `:timeout`
    * `:released_by_exit` - permits that came back by the death of their holder
    * `:killed` - processes that were killed because they exceeded their `:max_runtime`
    * `:held_longer_than` - processes that have held permits for longer than the pool's option
      `:held_longer_than`; only present with that option. `holders/1` lists them

  The figures from `:peak` to `:killed` cover the time since the pool was made. Each figure is
  exact, but in a pool in use not all are of the same instant. With tens of thousands of holders,
  the totals may lack those holders that die during the call.

  Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 5)
      iex> :ok = Penstock.Pool.acquire(pool, permits: 2)
      iex> %{in_use: 2, available: 3, holders: 1, acquired: 1} = Penstock.Pool.info(pool)
      iex> Penstock.Pool.info(pool).status
      :open

  """
  @spec info(pool) :: info
  def info(pool) do
    name = if is_atom(pool), do: pool
    PoolReport.info(Resolver.pool!(pool), name) || Resolver.bad_pool!(:no_pool, pool)
  end

  @doc """
  Lists the holders of permits, for people.

  Returns a list of `%{pid: pid, permits: n, held_ms: ms}`. The list has the 1_000 processes that
  have held permits for longest, or all if the pool has fewer holders. The longest comes first.
  `:held_ms` is the time for which the process has held permits of the pool without a pause, exact
  to about 10 ms.

  Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 5)
      iex> :ok = Penstock.Pool.acquire(pool, permits: 2)
      iex> [%{pid: pid, permits: 2, held_ms: _}] = Penstock.Pool.holders(pool)
      iex> pid == self()
      true

  """
  @spec holders(pool) :: [%{pid: pid, permits: pos_integer, held_ms: non_neg_integer}]
  def holders(pool) do
    holders = PoolReport.holders(Resolver.pool!(pool)) || Resolver.bad_pool!(:no_pool, pool)
    for {pid, permits, held_ms} <- holders, do: %{pid: pid, permits: permits, held_ms: held_ms}
  end

  @doc """
  Stops the admission, and waits for up to `timeout` ms until no permit is held.

  New requests, and requests that wait already, get `{:error, :closed}`. The pool refuses until
  `reopen/1`, even if permits are still held after `timeout` ms.

  `timeout` is 0 to 2_147_483_647 or `:infinity`; the default is `5_000`.

  Returns:

    * `:ok` - no permit is held
    * `{:error, {:timeout, in_use}}` - `in_use` permits were still held when the time was over, or
      when another process reopened or closed the pool

  A caller that holds permits of the pool waits for itself until the timeout. Raises as
  `try_acquire/2`, and on a `timeout` of the wrong kind.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 5)
      iex> :ok = Penstock.Pool.acquire(pool)
      iex> Penstock.Pool.drain(pool, 10)
      {:error, {:timeout, 1}}
      iex> Penstock.Pool.try_acquire(pool)
      {:error, :closed}

  """
  @spec drain(pool, timeout) :: :ok | {:error, {:timeout, pos_integer}}
  def drain(pool, timeout \\ 5_000) do
    ref = Resolver.pool!(pool)
    Options.timeout!(timeout, "timeout")

    case Wait.drain(ref, timeout) do
      :ok -> :ok
      {:undrained, in_use} -> {:error, {:timeout, in_use}}
      {:timeout, instance} -> still_held(ref, instance)
      bad -> Resolver.bad_pool!(bad, pool)
    end
  end

  defp still_held(ref, instance) do
    # Counts the permits, because the last permit may have been released since the wait ended.
    case Native.pool_held(ref, instance) do
      0 -> :ok
      in_use -> {:error, {:timeout, in_use}}
    end
  end

  @doc """
  Lets a pool admit again after `drain/2`. Does nothing to an open pool.

  Returns `:ok`. Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 5)
      iex> :ok = Penstock.Pool.drain(pool)
      iex> Penstock.Pool.reopen(pool)
      :ok
      iex> Penstock.Pool.try_acquire(pool)
      :ok

  """
  @spec reopen(pool) :: :ok
  def reopen(pool) do
    case Native.pool_reopen(Resolver.pool!(pool)) do
      :ok -> :ok
      # `:no_pool`: the name has no pool. `:closed`: the pool has just closed, and so has lost its
      # name, too.
      _no_pool -> Resolver.bad_pool!(:no_pool, pool)
    end
  end

  defp bad!(bad, pool, permits) do
    # The native side does not tell whether the pool or the number of permits is wrong. The first
    # line raises if the number is wrong.
    Options.permits!(permits, "permits")
    Resolver.bad_pool!(bad, pool)
  end
end

defimpl Inspect, for: Penstock.Pool do
  # Must not raise, because the error about a wrong handle shows that handle. Wrong handles are
  # forged, or of an earlier VM.
  def inspect(%{ref: ref}, _opts) when is_reference(ref) do
    case Penstock.Process.PoolReport.usage(ref) do
      nil -> "#Penstock.Pool<invalid>"
      {in_use, limit} -> "#Penstock.Pool<in_use: #{in_use}, limit: #{limit}>"
    end
  end

  def inspect(_forged, _opts), do: "#Penstock.Pool<invalid>"
end
