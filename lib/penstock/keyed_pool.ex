defmodule Penstock.KeyedPool do
  @moduledoc """
  A pool of permits for each key: a bulkhead per user, per address or per endpoint.

  A `Penstock.Pool` bounds the work of all callers together, so one caller can take all of it. A
  keyed pool bounds the work of each key, and no key waits for another:

      children = [
        {Penstock.KeyedPool, name: MyApp.PerUser, limit: 5, max_keys: 100_000}
      ]

      Penstock.run(MyApp.PerUser, fn -> render(user) end, key: user.id)

  The functions of this module acquire and release permits of a key directly:

      with :ok <- Penstock.KeyedPool.acquire(MyApp.PerUser, user.id) do
        try do
          render(user)
        after
          Penstock.KeyedPool.release(MyApp.PerUser, user.id)
        end
      end

  | function | what it does |
  |---|---|
  | `try_acquire/3` | acquires permits of a key, or refuses at once |
  | `acquire/3` | acquires permits of a key, and waits for them |
  | `release/3` | releases permits of a key |
  | `info/1`, `info/2` | the state of the pool, and of one key |
  | `top/2`, `holders/2` | the keys that hold most, and the processes that hold permits of a key |
  | `update/2`, `drain/2`, `reopen/1` | as those of `Penstock.Pool` |

  ## Keys

  A key is any term but `nil` of at most 1 KiB in the external term format, as for
  `Penstock.RateLimiter`. Terms that are `===` are one key.

  A key takes a place from its first permit or waiter to the end of its last. A key that holds
  nothing takes no place and leaves no trace, however many keys there were. If all `:max_keys`
  places are in use, a new key gets `{:error, :table_full}`. It pushes out no other key.

  The pool knows a key by a salted hash of 128 bits. If two keys had one hash, they would share one
  limit; no permit would be lost. Among a million keys the probability is below 2^-88. For people,
  the pool also keeps the key itself while it has a place, if it has at most 256 bytes.

  ## What it promises

  What `Penstock.Pool` promises, this pool promises for each key. Permits belong to the process
  that acquired them, and come back when it dies, by any exit. Another process cannot release them,
  and the holder cannot release more than it holds. Waiters of a key are served in the order of
  their arrival. If the owner crashes, the pool outlives it, and the next owner of the name adopts
  it.

  A process that waits for a key whose permits it holds itself waits for its own release, until the
  timeout.
  """

  alias Penstock.Admission.{KeyedWait, KeySize, Request, Resolver}
  alias Penstock.{Native, Options}
  alias Penstock.Node.{MemoryGuard, Owner}
  alias Penstock.Options.KeyedSettings
  alias Penstock.Test.Ownership.Seam

  import Penstock.Admission.KeySize, only: [is_short: 1]

  use Seam,
    gates: [:try_acquire, :acquire, :release, :info, :top, :holders, :update, :drain, :reopen],
    shown: [:info]

  @typedoc "The name of a running keyed pool."
  @type keyed_pool :: atom

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:name, atom}
          | {:limit, pos_integer}
          | {:max_keys, pos_integer}
          | {:max_waiting, non_neg_integer}
          | {:max_overdraft, non_neg_integer | :infinity}

  @typedoc "The result of `info/1`."
  @type info :: %{
          name: atom,
          status: :open | :draining,
          owner: pid | nil,
          limit: pos_integer,
          keys: non_neg_integer,
          max_keys: pos_integer,
          in_use: non_neg_integer,
          waiting: non_neg_integer,
          max_waiting: non_neg_integer,
          memory: non_neg_integer,
          acquired: non_neg_integer,
          rejected: non_neg_integer,
          timed_out: non_neg_integer,
          released_by_exit: non_neg_integer
        }

  @example "{Penstock.KeyedPool, name: MyApp.PerUser, limit: 5}"
  @default_timeout 5_000
  # The largest number of holders that `holders/2` returns.
  @most_holders 1_000

  @doc """
  Returns the child spec of a keyed pool, with the id `{Penstock.KeyedPool, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.KeyedPool.child_spec(name: MyApp.PerUser, limit: 5).id
      {Penstock.KeyedPool, MyApp.PerUser}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts the owner of a keyed pool, and links it to the caller.

  If the last owner of that name crashed, the new owner adopts its pool, unless `:max_keys` differs:
  permits that are held stay counted.

  Returns:

    * `{:ok, pid}` - `pid` is the owner
    * `{:error, {:already_started, pid}}` - the live process `pid` owns a gate of that name. If
      the gate is not a keyed pool, a warning is logged
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or of the wrong kind, or if there is
  not enough memory for the keys.

  ## Options

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:limit` - the most permits held at once for each key: 1 to 2_147_483_647; required
    * `:max_keys` - the most keys that have holders or waiters at once. At most 64 bytes are
      reserved for each. Default `100_000`
    * `:max_waiting` - the most processes that can wait at a time, over all keys: 0 to
      2_147_483_647. Default `1_000`
    * `:max_overdraft` - the most permits of a key that restarts under a supervisor can take beyond
      the limit: 0 to 2_147_483_647, or `:infinity`. Default: the limit, also when `update/2`
      changes it

  ## Examples

      iex> {:ok, pid} = Penstock.KeyedPool.start_link(name: MyApp.PerTenant, limit: 10)
      iex> {:error, {:already_started, ^pid}} = Penstock.KeyedPool.start_link(name: MyApp.PerTenant, limit: 10)
      iex> Penstock.KeyedPool.info(MyApp.PerTenant).max_keys
      100_000

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name | KeyedSettings.names()])
    name = Options.name!(Options.fetch!(opts, :name, @example))
    %{max_keys: max_keys} = settings = KeyedSettings.read!(opts, @example)

    with {:error, :enomem} <- start(name, settings) do
      raise ArgumentError,
            "not enough memory for max_keys: #{max_keys}, which needs #{memory(max_keys)} bytes; lower :max_keys"
    end
  end

  defp memory(max_keys), do: Native.bounds().keyed_key_memory * max_keys

  defp start(name, %{max_keys: max_keys} = settings) do
    if there_already?(name, max_keys) or MemoryGuard.available?(memory(max_keys)),
      do: Owner.start_link(name, :keyed_pool, &own(name, &1, settings)),
      else: {:error, :enomem}
  end

  # Returns `true` if a keyed pool of that size has the name already. If its owner has crashed, the
  # new owner adopts it, and needs no further memory.
  defp there_already?(name, max_keys), do: match?(%{max_keys: ^max_keys}, Native.keyed_info(name))

  defp own(name, owner, settings) do
    with :enomem <- Native.keyed_start(name, owner, settings), do: {:error, :enomem}
  end

  @doc """
  Acquires permits of a key for the calling process if they are free. Neither waits nor overtakes
  waiters.

  Returns:

    * `:ok` - the caller holds the permits until it releases them, or dies
    * `{:error, :key_full}` - fewer than `permits` of the key are free, or waiters of the key are
      ahead of the caller, or `permits` exceeds the limit
    * `{:error, :table_full}` - the key is new, and every place for a key is in use
    * `{:error, :closed}` - the pool is draining or closed

  A caller that has received the `:DOWN` or EXIT of a holder finds that holder's permits free,
  unless another process took them. If the key has more than 8 holders, the permits may return a
  few microseconds later.

  Raises `ArgumentError` if `keyed_pool` is not a running keyed pool, `key` is `nil` or larger than
  1 KiB, or `permits` is not an integer between 1 and 2_147_483_647.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerHost, limit: 1)
      iex> Penstock.KeyedPool.try_acquire(MyApp.PerHost, "a.example")
      :ok
      iex> Penstock.KeyedPool.try_acquire(MyApp.PerHost, "a.example")
      {:error, :key_full}
      iex> Penstock.KeyedPool.try_acquire(MyApp.PerHost, "b.example")
      :ok

  """
  @spec try_acquire(keyed_pool, term, pos_integer) :: :ok | {:error, :key_full | :table_full | :closed}
  def try_acquire(keyed_pool, key, permits \\ 1)

  # Most keys are short binaries, which need no measuring.
  def try_acquire(keyed_pool, key, permits) when is_short(key) do
    case Native.keyed_try(keyed_pool, key, permits, :measured) do
      :ok -> :ok
      other -> tried(other, keyed_pool, key, permits)
    end
  end

  def try_acquire(keyed_pool, key, permits),
    do: tried(KeySize.ask(key, &Native.keyed_try(keyed_pool, key, permits, &1)), keyed_pool, key, permits)

  defp tried(answer, keyed_pool, key, permits) do
    case answer do
      :ok -> :ok
      reason when reason in [:key_full, :table_full, :closed] -> {:error, reason}
      # The call has reaped as many dead holders as one call can.
      :again -> try_acquire(keyed_pool, key, permits)
      bad -> bad!(bad, keyed_pool, permits)
    end
  end

  @doc """
  Acquires permits of a key for the calling process, and waits for them if they are not free.

  Waiters of a key are served in the order of their arrival, and no key waits for another.

  Returns:

    * `:ok` - the caller holds the permits until it releases them, or dies
    * `{:error, :key_full}` - the request exceeds the limit, which `update/2` may have lowered
      during the call. With `timeout: 0`, also if the permits are not free
    * `{:error, :table_full}` - the key is new, and every place for a key is in use
    * `{:error, :queue_full}` - the permits are not free, and `:max_waiting` processes wait already
    * `{:error, :timeout}` - the permits did not become free in time
    * `{:error, :closed}` - the pool is draining or closed, or became so during the call

  Raises as `try_acquire/3`, and on an option that is unknown or of the wrong kind.

  ## Options

    * `:permits` - how many permits: 1 to 2_147_483_647. Default `1`
    * `:timeout` - how long to wait, in ms or `:infinity`. Default `5_000`

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerFile, limit: 1)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerFile, "a.csv")
      iex> waiter = Task.async(fn -> Penstock.KeyedPool.acquire(MyApp.PerFile, "a.csv") end)
      iex> :ok = Penstock.KeyedPool.release(MyApp.PerFile, "a.csv")
      iex> Task.await(waiter)
      :ok

  """
  @spec acquire(keyed_pool, term, permits: pos_integer, timeout: timeout) ::
          :ok | {:error, :key_full | :table_full | :queue_full | :timeout | :closed}
  def acquire(keyed_pool, key, opts \\ []) do
    %{permits: permits, timeout: timeout} = Request.wait!(opts, @default_timeout)

    case timeout do
      0 -> try_acquire(keyed_pool, key, permits)
      _ms -> acquired(KeyedWait.park(keyed_pool, key, :manual, permits, timeout), keyed_pool, permits)
    end
  end

  defp acquired({:ok, _lease}, _keyed_pool, _permits), do: :ok
  defp acquired({:error, _reason} = refused, _keyed_pool, _permits), do: refused
  defp acquired(bad, keyed_pool, permits), do: bad!(bad, keyed_pool, permits)

  @doc """
  Releases permits of a key that the calling process got by `acquire/3` or `try_acquire/3`.

  Returns:

    * `:ok` - the permits are free, or have passed to waiters of the key
    * `{:error, :not_held}` - the caller holds fewer such permits of the key; nothing is released.
      Permits that are bound to a `Penstock.run/3`, or to a process behind the pool, do not count:
      they return when that work ends

  Raises as `try_acquire/3`.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerShop, limit: 1)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerShop, 7)
      iex> Penstock.KeyedPool.release(MyApp.PerShop, 7)
      :ok
      iex> Penstock.KeyedPool.release(MyApp.PerShop, 7)
      {:error, :not_held}

  """
  @spec release(keyed_pool, term, pos_integer) :: :ok | {:error, :not_held}
  def release(keyed_pool, key, permits \\ 1)

  def release(keyed_pool, key, permits) when is_short(key) do
    case Native.keyed_release(keyed_pool, key, permits, :measured) do
      :ok -> :ok
      other -> released(other, keyed_pool, permits)
    end
  end

  def release(keyed_pool, key, permits),
    do: released(KeySize.ask(key, &Native.keyed_release(keyed_pool, key, permits, &1)), keyed_pool, permits)

  defp released(answer, keyed_pool, permits) do
    case answer do
      :ok -> :ok
      :not_held -> {:error, :not_held}
      bad -> bad!(bad, keyed_pool, permits)
    end
  end

  @doc """
  Returns the state and the totals of a keyed pool.

  The result is a map:

    * `:name`, `:owner`
    * `:status` - `:open` or `:draining`
    * `:limit`, `:max_keys`, `:max_waiting` - the values in force
    * `:keys` - keys that have holders or waiters
    * `:in_use` - permits held, over all keys
    * `:waiting` - processes that wait, over all keys
    * `:memory` - bytes: those reserved for keys, and those of holders and waiters
    * `:acquired` - requests admitted
    * `:rejected` - requests that got `:key_full`, `:table_full`, `:queue_full` or `:closed`
    * `:timed_out` - requests that got `:timeout`
    * `:released_by_exit` - permits that came back by the death of their holder

  The last four figures cover the time since the pool was made. Each figure is exact, but in a pool
  in use not all are of the same instant.

  Raises `ArgumentError` if `keyed_pool` is not a running keyed pool.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerRoom, limit: 3)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerRoom, :lobby, permits: 2)
      iex> %{keys: 1, in_use: 2, waiting: 0, acquired: 1} = Penstock.KeyedPool.info(MyApp.PerRoom)
      iex> Penstock.KeyedPool.info(MyApp.PerRoom).status
      :open

  """
  @spec info(keyed_pool) :: info
  def info(keyed_pool) do
    case Native.keyed_info(keyed_pool) do
      :no_pool -> Resolver.not_running!(:keyed_pool, keyed_pool)
      info -> Map.merge(info, %{name: keyed_pool, owner: Native.gate_owner(keyed_pool)})
    end
  end

  @doc """
  Returns the state of one key: `%{in_use: n, available: n, waiting: n}`.

  Raises as `release/3`.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerTeam, limit: 3)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerTeam, "red")
      iex> Penstock.KeyedPool.info(MyApp.PerTeam, "red")
      %{in_use: 1, available: 2, waiting: 0}

  """
  @spec info(keyed_pool, term) :: %{in_use: non_neg_integer, available: non_neg_integer, waiting: non_neg_integer}
  def info(keyed_pool, key) do
    case KeySize.ask(key, &Native.keyed_key(keyed_pool, key, &1)) do
      %{in_use: in_use, limit: limit, waiting: waiting} ->
        %{in_use: in_use, available: max(limit - in_use, 0), waiting: waiting}

      :no_pool ->
        Resolver.not_running!(:keyed_pool, keyed_pool)
    end
  end

  @doc """
  Lists the `n` keys that hold most permits, for people. The key with most comes first.

  Returns a list of `%{key: key, permits: n, waiting: n}`. The key is `{:hash, number}` if it was
  too large to be kept; other functions take the key itself, never its hash.

  Raises `ArgumentError` if `keyed_pool` is not a running keyed pool, or `n` is not an integer
  between 1 and 1_000.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerDoc, limit: 3)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerDoc, {:doc, 1})
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerDoc, {:doc, 2}, permits: 3)
      iex> Penstock.KeyedPool.top(MyApp.PerDoc, 1)
      [%{key: {:doc, 2}, permits: 3, waiting: 0}]

  """
  @spec top(keyed_pool, pos_integer) :: [%{key: term, permits: non_neg_integer, waiting: non_neg_integer}]
  def top(keyed_pool, n \\ 10)

  def top(keyed_pool, n) when is_integer(n) and n in 1..1_000 do
    for {key, permits, waiting} <- top(keyed_pool, n, 0, []), do: %{key: kept(key), permits: permits, waiting: waiting}
  end

  def top(_keyed_pool, n), do: Options.expected!("n", "an integer between 1 and 1_000", n)

  # Reads the keys shard by shard, and keeps the n largest of those so far.
  defp top(_keyed_pool, _n, :done, found), do: found

  defp top(keyed_pool, n, shard, found) do
    case Native.keyed_top(keyed_pool, shard, n) do
      :no_pool ->
        Resolver.not_running!(:keyed_pool, keyed_pool)

      {next, more} ->
        largest = Enum.sort_by(more ++ found, fn {_key, permits, waiting} -> {permits, waiting} end, :desc)
        top(keyed_pool, n, next, Enum.take(largest, n))
    end
  end

  defp kept(hash) when is_integer(hash), do: {:hash, hash}
  defp kept(external), do: :erlang.binary_to_term(external)

  @doc """
  Lists the holders of permits of a key, for people.

  Returns a list of `%{pid: pid, permits: n, held_ms: ms}`. The list has the 1_000 processes that
  have held permits for longest, or all if the key has fewer holders. The longest comes first.
  `:held_ms` is the time for which the process has held permits of the key without a pause, exact
  to about 10 ms.

  Raises as `release/3`.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerCity, limit: 3)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerCity, "Ulm", permits: 2)
      iex> [%{pid: pid, permits: 2, held_ms: _}] = Penstock.KeyedPool.holders(MyApp.PerCity, "Ulm")
      iex> pid == self()
      true

  """
  @spec holders(keyed_pool, term) :: [%{pid: pid, permits: pos_integer, held_ms: non_neg_integer}]
  def holders(keyed_pool, key) do
    holders = keyed_pool |> holders(key, 0, nil) |> Enum.sort_by(&elem(&1, 2), :desc) |> Enum.take(@most_holders)
    for {pid, permits, held_ms} <- holders, do: %{pid: pid, permits: permits, held_ms: held_ms}
  end

  defp holders(_keyed_pool, _key, :done, _now), do: []

  defp holders(keyed_pool, key, from, now) do
    case KeySize.ask(key, &Native.keyed_holders(keyed_pool, key, &1, from, now)) do
      {next, now, found} -> found ++ holders(keyed_pool, key, next, now)
      :no_pool -> Resolver.not_running!(:keyed_pool, keyed_pool)
    end
  end

  @doc """
  Changes the limits of a running keyed pool.

  A larger limit serves waiters at once. A limit below the number of held permits of a key leaves an
  *overdraft*. No process is killed, but the pool admits no further work of that key until enough
  permits are released. Requests that wait for more permits than the new limit get
  `{:error, :key_full}`.

  Returns `:ok`. Raises `ArgumentError` if `keyed_pool` is not a running keyed pool, and on an option
  that is unknown or of the wrong kind.

  ## Options

    * `:limit` - the most permits held at once for each key: 1 to 2_147_483_647. Default: unchanged
    * `:max_waiting` - the most processes that can wait at a time, over all keys: 0 to
      2_147_483_647. Default: unchanged

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerApp, limit: 1)
      iex> Penstock.KeyedPool.update(MyApp.PerApp, limit: 2)
      :ok
      iex> Penstock.KeyedPool.try_acquire(MyApp.PerApp, :web, 2)
      :ok

  """
  @spec update(keyed_pool, limit: pos_integer, max_waiting: non_neg_integer) :: :ok
  def update(keyed_pool, opts) do
    {limit, max_waiting} = KeyedSettings.changes!(opts)

    case Native.keyed_update(keyed_pool, limit, max_waiting) do
      :ok -> :ok
      _no_pool -> Resolver.not_running!(:keyed_pool, keyed_pool)
    end
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

  Raises as `update/2`, and on a `timeout` of the wrong kind.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerJob, limit: 1)
      iex> :ok = Penstock.KeyedPool.acquire(MyApp.PerJob, 1)
      iex> Penstock.KeyedPool.drain(MyApp.PerJob, 10)
      {:error, {:timeout, 1}}
      iex> Penstock.KeyedPool.try_acquire(MyApp.PerJob, 2)
      {:error, :closed}

  """
  @spec drain(keyed_pool, timeout) :: :ok | {:error, {:timeout, pos_integer}}
  def drain(keyed_pool, timeout \\ @default_timeout) do
    Options.timeout!(timeout, "timeout")

    case KeyedWait.drain(keyed_pool, timeout) do
      :ok -> :ok
      {:held, 0} -> :ok
      {:held, in_use} -> {:error, {:timeout, in_use}}
      _no_pool -> Resolver.not_running!(:keyed_pool, keyed_pool)
    end
  end

  @doc """
  Lets a keyed pool admit again after `drain/2`. Does nothing to an open pool.

  Returns `:ok`. Raises as `info/1`.

  ## Examples

      iex> {:ok, _} = Penstock.KeyedPool.start_link(name: MyApp.PerTest, limit: 1)
      iex> :ok = Penstock.KeyedPool.drain(MyApp.PerTest)
      iex> Penstock.KeyedPool.reopen(MyApp.PerTest)
      :ok
      iex> Penstock.KeyedPool.try_acquire(MyApp.PerTest, 1)
      :ok

  """
  @spec reopen(keyed_pool) :: :ok
  def reopen(keyed_pool) do
    case Native.keyed_reopen(keyed_pool) do
      :ok -> :ok
      # `:closed`: the pool has just closed, and so has lost its name, too.
      _no_pool -> Resolver.not_running!(:keyed_pool, keyed_pool)
    end
  end

  # The native side does not tell whether the pool or the number of permits is wrong. The first line
  # raises if the number is wrong.
  defp bad!(_bad, keyed_pool, permits) do
    Options.permits!(permits, "permits")
    Resolver.not_running!(:keyed_pool, keyed_pool)
  end
end
