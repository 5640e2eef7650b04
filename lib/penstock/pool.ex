defmodule Penstock.Pool do
  @moduledoc """
  A counting semaphore: at most `:limit` permits are held at any time, no matter which process is
  killed or when.

      children = [
        {Penstock.Pool, name: MyApp.Jobs, limit: 100}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  A permit belongs to the process that acquired it. It comes back when that process releases it or
  dies, by any exit. No code has to rescue, trap exits or clean up:

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.Jobs, limit: 1)
      iex> Penstock.Pool.acquire(MyApp.Jobs)
      :ok
      iex> Penstock.Pool.try_acquire(MyApp.Jobs)
      {:error, :full}
      iex> Penstock.Pool.release(MyApp.Jobs)
      :ok

  Acquiring and releasing are one native call each and involve no other process. Most code needs
  neither: `Penstock.run/3` holds a permit around a function, `Penstock.spawn/3` for the life of a
  process.

  ## Waiting

  `acquire/2` parks the caller in a `receive` until permits are handed to it. Waiters are served
  first come, first served, and at most `:max_waiting` processes are parked. `try_acquire/2` never
  overtakes them. A large request at the head of the queue is not starved by small ones behind it:
  they wait until it has been served.

  A process may hold permits and acquire more. If the permits it holds and those it asks for
  exceed the limit together, it would wait for itself, and gets `{:error, :deadlock}` at once.

  A process that must not block, such as a `GenServer`, waits by a message: see `acquire_async/2`.

  A suspended process (`:erlang.suspend_process/1`) that waits can be granted permits. It holds
  them until it is resumed or killed.

  ## Under a supervisor

  The process that `start_link/1` starts is the *owner*. No permit ever passes through it. When
  the owner is shut down it closes the pool: waiters get `{:error, :closed}`, and holders are
  forgotten. So start pools first, outside a group of their users.

  When the owner crashes or is killed, holders, waiters and counts stay as they are, and the next
  `start_link/1` of the name adopts them. With the same options a limit that was `update/2`d
  stays; changed options win. A pool that is not adopted within 60 s closes.

  Evaluating `start_link/1` again, as in a notebook, gives `{:error, {:already_started, pid}}` and
  keeps the old limit; use a supervisor there, or `update/2`. Tests that run concurrently share a
  named pool: use `new/1`, or `limit: :infinity`.

  ## What is not counted

  Native code that continues after its process was killed inside a dirty NIF, and work that
  outlives a closed pool. A permit acquired through `:erpc` ends with the temporary process of
  that call.
  """

  alias Penstock.Admission
  alias Penstock.Admission.{Request, Resolver, Wait}
  alias Penstock.{Native, Options}
  alias Penstock.Node.Owner

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

  @typedoc false
  @type settings :: %{
          limit: Native.limit(),
          max_waiting: non_neg_integer,
          max_overdraft: Native.overdraft(),
          held_longer_than: non_neg_integer
        }

  @settings [:limit, :max_waiting, :max_overdraft, :held_longer_than]
  @default_timeout 5_000
  # The most entries that `holders/1` returns.
  @most_holders 1_000

  @doc """
  Returns the child spec of a pool. The options are those of `start_link/1`, which checks them.

      iex> Penstock.Pool.child_spec(name: MyApp.Uploads, limit: 5).id
      {Penstock.Pool, MyApp.Uploads}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts a pool, or adopts the pool of a crashed owner, and links the owner to the caller.

  Returns:

    * `{:ok, pid}`
    * `{:error, {:already_started, pid}}` - a live process owns a pool of that name
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or of the wrong kind.

  ## Options

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:limit` - the most permits held at once: 0 to 2_147_483_647, or `:infinity`, which counts
      and does not refuse; required. 0 is a pause: requests of any size wait
    * `:max_waiting` - the most processes that may be parked: 0 to 2_147_483_647. Default `1_000`.
      Memory for them is allocated as it is used
    * `:max_overdraft` - the most permits that restarts under a supervisor may take beyond the
      limit, in the range of `:limit`. Default: the limit, also after `update/2`
    * `:held_longer_than` - an age in ms: `info/1` counts the holders that are older, to about 10
      ms. It costs nothing until `info/1` is called. Default: no holders are counted

  ## Examples

      iex> {:ok, pid} = Penstock.Pool.start_link(name: MyApp.Uploads, limit: 10)
      iex> {:error, {:already_started, ^pid}} = Penstock.Pool.start_link(name: MyApp.Uploads, limit: 10)
      iex> Penstock.Pool.info(MyApp.Uploads).available
      10

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name | @settings])
    name = Options.name!(Options.fetch!(opts, :name, "{Penstock.Pool, name: MyApp.Jobs, limit: 100}"))
    settings = settings!(opts)
    Owner.start_link(name, :pool, &own(name, &1, settings))
  end

  @doc false
  # Makes a process the owner of the name's pool, unless a live process is. Returns the latter.
  @spec own(atom, pid, settings) :: :fresh | :adopted | pid
  def own(name, owner, settings), do: Native.pool_start(name, owner, settings)

  @doc """
  Makes a pool without a name, which is dropped when no process refers to it.

  Returns a `t:t/0`. Takes the options of `start_link/1` except `:name`, and raises as it does.

  A dropped pool closes, and its memory serves the next call of `new/1`. The memory is never
  returned to the system: it is bounded by the most pools that were referred to at once, each with
  room for the most processes that ever acquired in it.

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

    %__MODULE__{ref: Native.pool_new(settings!(Options.known!(opts, @settings)))}
  end

  @doc false
  # Checks the options of `start_link/1` except the name.
  @spec settings!(keyword) :: settings
  def settings!(opts) do
    limit = Options.limit!(Options.fetch!(opts, :limit, "limit: 100"))

    %{
      limit: limit,
      max_waiting: Options.max_waiting!(Keyword.get(opts, :max_waiting, 1_000)),
      max_overdraft: max_overdraft!(Keyword.fetch(opts, :max_overdraft)),
      held_longer_than: Options.milliseconds!(Keyword.get(opts, :held_longer_than), ":held_longer_than") || 0
    }
  end

  defp max_overdraft!(:error), do: :limit
  defp max_overdraft!({:ok, value}), do: Options.limit!(value, ":max_overdraft")

  @doc """
  Takes one permit if it is free, as `try_acquire/2` does.
  """
  @spec try_acquire(pool) :: :ok | {:error, :full | :closed}
  def try_acquire(pool)

  # Its own clause and not a default argument: nearly every call is this one.
  def try_acquire(pool) when is_atom(pool) do
    case Native.pool_try_one(pool, self()) do
      :ok -> :ok
      other -> tried(other, pool, 1)
    end
  end

  def try_acquire(pool), do: try_acquire(pool, 1)

  @doc """
  Takes permits if they are free, without waiting and without overtaking waiters.

  Returns:

    * `:ok`
    * `{:error, :full}` - fewer than `permits` are free
    * `{:error, :closed}` - the pool is draining or closed

  A caller that has seen the `:DOWN` or EXIT of a holder finds that holder's permits free, unless
  another process took them. On a pool of at most 8 holders that is always so; on a larger one it
  may take a few microseconds more, until the pool's own monitor has run. `acquire/2` is not
  affected.

  Raises `ArgumentError` if `pool` is not a running pool, or `permits` is not an integer between 1
  and 2_147_483_647.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> Penstock.Pool.try_acquire(pool)
      :ok
      iex> Penstock.Pool.try_acquire(pool)
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

  # :again: thousands of idle entries to pass, or dozens of waiters to serve, are more than one
  # native call may do.
  defp tried(:again, pool, permits),
    do: asked_for(Admission.ask(:free, Resolver.pool!(pool), permits, 0), pool, permits)

  defp tried(reason, _pool, _permits) when reason in [:full, :closed], do: {:error, reason}
  defp tried(bad, pool, permits), do: bad!(bad, pool, permits)

  @doc """
  Takes permits, and waits for them if they are not free.

  Returns:

    * `:ok`
    * `{:error, :full}` - the request exceeds the limit, or `timeout: 0` and the permits are not
      free
    * `{:error, :queue_full}` - `:max_waiting` processes wait already
    * `{:error, :timeout}` - the permits did not become free in time
    * `{:error, :closed}` - the pool is draining or closed, or became so during the call
    * `{:error, :deadlock}` - the caller would wait, and the permits it holds of the pool, by any
      function, and those it asks for exceed the limit together. With `timeout: 0` the reason is
      `:full`. While the limit is 0 the caller waits

  Raises as `try_acquire/2`, and on an option that is unknown or of the wrong kind.

  Two processes that each hold a part of the permits and wait for the other's part wait until
  their timeouts: use separate pools for parent and child work, or `timeout: 0`.

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
      :busy -> asked_for(Wait.park(ref, :free, permits, timeout), pool, permits)
      bad -> bad!(bad, pool, permits)
    end
  end

  defp asked_for({:ok, _held}, _pool, _permits), do: :ok
  defp asked_for({:error, _reason} = refused, _pool, _permits), do: refused
  defp asked_for(bad, pool, permits), do: bad!(bad, pool, permits)

  @doc """
  Asks for permits without blocking, for servers. The answer comes as a message.

  Returns `{:ok, ref}`. The calling process gets exactly one message, even if the answer is known
  at once:

    * `{ref, :ok}` - the caller holds the permits from before the message arrives; release them by
      `release/2`
    * `{ref, {:error, reason}}` - refused. The reasons are those of `acquire/2` except
      `:deadlock`, because a caller that does not block may release the permits it waits for

  The request waits in the same queue as those of `acquire/2` and counts towards `:max_waiting`. A
  process may have many such requests; its death ends them all. `cancel/2` withdraws one. A caller
  that then waits in `acquire/2` may wait for permits that it is granted meanwhile.

  Raises as `acquire/2`.

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

  """
  @spec acquire_async(pool, permits: pos_integer, timeout: timeout) :: {:ok, reference}
  def acquire_async(pool, opts \\ []) do
    %{permits: permits, timeout: timeout} = Request.wait!(opts, @default_timeout)
    asked(Native.pool_ask(Resolver.pool!(pool), permits, timeout), pool, permits, timeout)
  end

  defp asked({ref, :waiting}, _pool, _permits, _timeout), do: {:ok, ref}

  defp asked({ref, answer}, _pool, _permits, _timeout) do
    send(self(), {ref, if(answer == :ok, do: :ok, else: {:error, answer})})
    {:ok, ref}
  end

  defp asked(:again, pool, permits, timeout) do
    asked(Native.pool_ask(Resolver.pool!(pool), permits, timeout), pool, permits, timeout)
  end

  defp asked(bad, pool, permits, _timeout), do: bad!(bad, pool, permits)

  @doc """
  Withdraws a request of `acquire_async/2`.

  Returns `:ok`. After that the mailbox has no message of `ref` and gets none, and the request
  holds nothing: permits whose message was on its way, or in the mailbox, are free again. Permits
  whose message the caller has already received stay its own until `release/2`. A `ref` that is
  unknown, belongs to another process or pool, or has been answered or cancelled, changes nothing.

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
    gate = Resolver.pool!(pool)

    case Native.pool_recall(gate, ref) do
      :ok -> :ok
      {:told, instance, permits} -> take_back(gate, instance, permits, ref, 0)
      # The native side sends the message a moment before it notes that: the caller may have
      # received it already. So the caller asks again.
      {:coming, instance, permits} -> with :none <- take_back(gate, instance, permits, ref, 1), do: cancel(pool, ref)
      :badarg -> Options.expected!("ref", "a reference", ref)
      :no_pool -> Resolver.bad_pool!(:no_pool, pool)
    end
  end

  defp take_back(gate, instance, permits, ref, timeout) do
    receive do
      {^ref, :ok} ->
        # 0 if the pool was closed and opened again.
        if permits > 0, do: Native.pool_release(gate, instance, permits)
        :ok

      {^ref, {:error, _reason}} ->
        :ok
    after
      timeout -> if timeout == 0, do: :ok, else: :none
    end
  end

  @doc """
  Releases one permit, as `release/2` does.
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
  Releases permits that the calling process got by `acquire/2`, `try_acquire/2` or `transfer/3`.

  Returns:

    * `:ok`
    * `{:error, :not_held}` - the process holds fewer permits of its own; nothing is released.
      Permits that are bound to a `Penstock.run/3` or to a gated process are released by its end
      only

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
  Transfers permits of the calling process to another process.

  Returns:

    * `:ok` - `pid` holds the permits; it may release them, and its death does
    * `{:error, :not_held}` - the caller holds fewer permits of its own; nothing has changed
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
      # The other arguments are right. The pid may be of this node's name, but of an earlier life
      # of it.
      :badarg -> Options.expected!("pid", "a process of this node", pid)
      :no_pool -> Resolver.bad_pool!(:no_pool, pool)
    end
  end

  @doc """
  Changes the limits of a running pool.

  Returns `:ok`. Growing wakes waiters at once. Shrinking below the number of held permits leaves
  an overdraft: the pool admits no work until it is paid back. Waiters that ask for more than the
  new limit get `{:error, :full}`.

  Raises as `start_link/1` and `try_acquire/2`.

  ## Options

    * `:limit`, `:max_waiting` - as in `start_link/1`

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
    opts = Options.known!(opts, [:limit, :max_waiting])
    limit = if Keyword.has_key?(opts, :limit), do: Options.limit!(opts[:limit]), else: :keep
    max_waiting = if Keyword.has_key?(opts, :max_waiting), do: Options.max_waiting!(opts[:max_waiting]), else: :keep

    case Native.pool_update(Resolver.pool!(pool), limit, max_waiting) do
      :ok -> :ok
      bad -> Resolver.bad_pool!(bad, pool)
    end
  end

  @doc """
  Returns the state and the totals of a pool.

  The result is a map:

    * `:name`, `:owner` - `nil` for a pool made by `new/1`
    * `:status` - `:open`, `:draining` or `:closed`
    * `:limit`, `:max_waiting` - the values in force
    * `:in_use` - permits held
    * `:available` - permits free; `:infinity` if the limit is
    * `:overdraft` - permits held beyond the limit
    * `:holders` - processes that hold permits
    * `:waiting` - processes parked
    * `:peak` - the most permits that were held at once
    * `:acquired` - requests admitted
    * `:rejected` - requests that got `:full`, `:queue_full` or `:closed`
    * `:timed_out` - requests that got `:timeout`
    * `:released_by_exit` - permits that came back by the death of their holder
    * `:killed` - processes that were killed because they exceeded their `:max_runtime`
    * `:held_longer_than` - processes that have held permits for longer than the pool's option of
      that name; only present with that option. `holders/1` lists them

  `:peak` and the keys after it are totals since the pool was made. Each figure is exact, but
  while the pool is in use the figures are not all of one instant. Totals of a pool with tens of
  thousands of holders may lag by the holders that die at that moment. Raises as `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 5)
      iex> :ok = Penstock.Pool.acquire(pool, permits: 2)
      iex> %{in_use: 2, available: 3, holders: 1, acquired: 1} = Penstock.Pool.info(pool)
      iex> Penstock.Pool.info(pool).status
      :open

  """
  @spec info(pool) :: info
  def info(pool) do
    ref = Resolver.pool!(pool)

    case Native.pool_info(ref) do
      :no_pool ->
        Resolver.bad_pool!(:no_pool, pool)

      %{instance: instance, limit: limit, in_use: in_use} = info ->
        sums = report(ref, instance, 0, %{})

        %{
          name: if(is_atom(pool), do: pool),
          status: info.status,
          owner: if(is_atom(pool), do: Native.gate_owner(pool)),
          limit: limit,
          in_use: in_use,
          available: if(limit == :infinity, do: :infinity, else: max(limit - in_use, 0)),
          overdraft: if(limit == :infinity, do: 0, else: max(in_use - limit, 0)),
          waiting: info.waiting,
          max_waiting: info.max_waiting,
          holders: sums.holders,
          peak: info.peak,
          acquired: sums.acquired + info.granted,
          rejected: sums.rejected,
          timed_out: sums.timed_out,
          released_by_exit: sums.released_by_exit,
          killed: sums.killed
        }
        |> with_held_longer(info.held_longer_than, sums.held_longer_than)
    end
  end

  defp with_held_longer(info, 0, _count), do: info
  defp with_held_longer(info, _ms, count), do: Map.put(info, :held_longer_than, count)

  defp report(_ref, _instance, :done, sums), do: sums

  defp report(ref, instance, cursor, sums) do
    {next, part} = Native.pool_report(ref, instance, cursor)
    report(ref, instance, next, Map.merge(sums, part, fn _figure, a, b -> a + b end))
  end

  @doc """
  Lists the holders of permits, for people.

  Returns a list of `%{pid: pid, permits: count, held_ms: age}`, longest held first, at most
  1_000. The age counts from when the process last held none, to about 10 ms. Raises as
  `try_acquire/2`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 5)
      iex> :ok = Penstock.Pool.acquire(pool, permits: 2)
      iex> [%{pid: pid, permits: 2, held_ms: _}] = Penstock.Pool.holders(pool)
      iex> pid == self()
      true

  """
  @spec holders(pool) :: [%{pid: pid, permits: pos_integer, held_ms: non_neg_integer}]
  def holders(pool) do
    ref = Resolver.pool!(pool)

    case Native.pool_info(ref) do
      :no_pool ->
        Resolver.bad_pool!(:no_pool, pool)

      %{instance: instance} ->
        for {pid, permits, held_ms} <- longest(ref, instance, 0, nil, 0, [], 0) do
          %{pid: pid, permits: permits, held_ms: held_ms}
        end
    end
  end

  # Reads holders page by page. Once enough are found, only holders that have held for longer than
  # the last of these are asked for, which soon are few.
  defp longest(_ref, _instance, :done, _now, _at_least, found, _count), do: cut(found)

  defp longest(ref, instance, cursor, now, _at_least, found, count) when count >= 2 * @most_holders do
    found = cut(found)
    {_pid, _permits, shortest} = List.last(found)
    longest(ref, instance, cursor, now, shortest + 1, found, @most_holders)
  end

  defp longest(ref, instance, cursor, now, at_least, found, count) do
    {next, now, more} = Native.pool_holders(ref, instance, cursor, now, at_least)
    longest(ref, instance, next, now, at_least, more ++ found, count + length(more))
  end

  defp cut(found), do: found |> Enum.sort_by(&elem(&1, 2), :desc) |> Enum.take(@most_holders)

  @doc """
  Stops admitting, and waits until no permit is held.

  New requests and waiters get `{:error, :closed}`. The pool stays closed, regardless of the
  result; `reopen/1` undoes it.

  Returns:

    * `:ok` - no permit is held
    * `{:error, {:timeout, in_use}}` - `in_use` permits were still held after `timeout` ms, or
      when another process reopened or closed the pool

  A caller that holds permits of the pool waits for itself. Raises as `try_acquire/2`, and on a
  `timeout` that is neither a number of ms nor `:infinity`.

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
    # A permit that was released between the end of the wait and this look was released in time.
    case Native.pool_held(ref, instance) do
      0 -> :ok
      in_use -> {:error, {:timeout, in_use}}
    end
  end

  @doc """
  Admits again after `drain/2`. Does nothing on an open pool.

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
      # A named pool that closes at this instant has lost its name.
      _no_pool -> Resolver.bad_pool!(:no_pool, pool)
    end
  end

  @doc false
  # Returns `{in_use, limit}`; nil if there is no such pool. Without a walk through the holders.
  @spec usage(Native.gate()) :: {non_neg_integer, Native.limit()} | nil
  def usage(ref) do
    case Native.pool_info(ref) do
      :no_pool -> nil
      %{in_use: in_use, limit: limit} -> {in_use, limit}
    end
  end

  defp bad!(bad, pool, permits) do
    # The native side does not say which of the two arguments it refused.
    Options.permits!(permits, "permits")
    Resolver.bad_pool!(bad, pool)
  end
end

defimpl Inspect, for: Penstock.Pool do
  # Asks the native side and raises nothing: a forged handle, or one of an earlier life of the
  # node, must be shown too, above all in the error about it.
  def inspect(%{ref: ref}, _opts) when is_reference(ref) do
    case Penstock.Pool.usage(ref) do
      nil -> "#Penstock.Pool<invalid>"
      {in_use, limit} -> "#Penstock.Pool<in_use: #{in_use}, limit: #{limit}>"
    end
  end

  def inspect(_forged, _opts), do: "#Penstock.Pool<invalid>"
end
