defmodule Penstock.RateLimiter do
  @moduledoc """
  A rate limiter: `limit` hits per `per` ms, in total or for each key.

      children = [
        {Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000, burst: 20}
      ]

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Api, limit: 100, per: 60_000, burst: 2)
      iex> Penstock.RateLimiter.hit(MyApp.Api, {:user, 1})
      {:allow, 1}
      iex> Penstock.RateLimiter.hit(MyApp.Api, {:user, 1})
      {:allow, 0}
      iex> {:deny, retry_after_ms} = Penstock.RateLimiter.hit(MyApp.Api, {:user, 1})
      iex> retry_after_ms <= 600
      true

  A hit is one native call, and sends no message to any process. A limiter is also a *gate*:
  functions such as `Penstock.spawn/3` count a hit before they start work. See
  [Gates with keys](Penstock.html#module-gates-with-keys).

  ## The rate

  On average `:limit` hits per `:per` ms are allowed, and at most `:burst` of them back to back.
  Evenly spaced hits at that rate are never denied. A limiter with fixed windows would let twice
  the limit pass around the end of a window; this one has no windows. `retry_after_ms` is exact: a
  hit after that delay succeeds unless the key was hit again in the meantime.

  The limiter keeps one time for each key, the *debt* of the key. A hit of cost `c` adds
  `c × per / limit` ms to the debt; the usual cost is 1. The debt runs down with the clock. A hit
  is allowed if the debt after the hit is at most `burst × per / limit` ms. This is GCRA, a token
  bucket without a timer: a key without debt has a full bucket.

  ## Keys

  A key is any term, such as a user's id, of at most 1 KiB in the external term format: hash
  larger terms. Terms that are `===` are one key; `0.0` and `-0.0` are one key too. `:global` is
  the key of callers that give none. `nil` is not a key: for unknown callers use a key such as
  `:anonymous`.

  The memory for keys is fixed at start: at most two places of 16 bytes for each of `:max_keys`.
  It does not grow, and no process has to clean it. A key is *active* while it has debt. An active
  key keeps its place, so a flood of new keys cannot clear its debt. A key without debt is like
  one that was never seen, so another key can take its place.

  A key can use only a few of the places. A new key is denied if active keys have all of these.
  `retry_after_ms` is then the time until the first of them is free. With `:max_keys` active keys,
  fewer than one new key in a million is denied for lack of a place. With more than about twice
  `:max_keys` active keys, nearly every new key is denied.

  The limiter stores a 64-bit hash of each key, with a random salt of the node. Two keys with the
  same hash would share one debt. The probability that any two of a million keys have the same
  hash is below one in ten million. An attacker cannot construct such keys without the salt.

  ## Life

  The process that `start_link/1` starts is the *owner* of the limiter. No hit passes through it.
  When the owner ends with the reason `:normal`, `:shutdown` or `{:shutdown, term}`, the limiter
  closes. When the owner crashes, the debt of all keys stays. The next `start_link/1` of that name
  adopts the limiter, if `:max_keys` and `:clock` are the same as before; otherwise it starts a
  limiter without debts.

  The memory of a closed limiter is kept for the next one with the same `:max_keys`, of any name.
  So the peak number of open limiters of each size bounds the memory. Do not start limiters with
  ever-changing `:max_keys`: the memory of each size is kept.

  ## Tests

  With `clock: :manual` time stands still until `advance/2`:

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Daily, limit: 1, per: 86_400_000, clock: :manual)
      iex> Penstock.RateLimiter.hit(MyApp.Daily)
      {:allow, 0}
      iex> Penstock.RateLimiter.advance(MyApp.Daily, 86_399_999)
      iex> Penstock.RateLimiter.hit(MyApp.Daily)
      {:deny, 1}
      iex> Penstock.RateLimiter.advance(MyApp.Daily, 1)
      iex> Penstock.RateLimiter.hit(MyApp.Daily)
      {:allow, 0}

  """

  alias Penstock.{Native, Options}
  alias Penstock.Admission.{KeySize, Limiter, Request}
  alias Penstock.Node.{MemoryGuard, Owner}
  alias Penstock.Options.Rate
  alias Penstock.Test.Ownership.Seam

  require KeySize

  use Seam,
    gates: [:hit, :acquire, :charge, :refund, :pause, :peek, :reset, :update, :info, :advance],
    lists: [:hit_all],
    shown: [:info, :hit_all]

  @typedoc "The name of a running limiter."
  @type limiter :: atom

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:name, atom}
          | {:limit, pos_integer}
          | {:per, pos_integer}
          | {:burst, pos_integer}
          | {:max_keys, pos_integer}
          | {:clock, :monotonic | :manual}

  @typedoc """
  `{:allow, remaining}`: the number of hits of cost 1 that are still allowed at this instant.
  `{:deny, retry_after_ms}`: the time in ms after which the hit would be allowed; `:infinity` if
  the cost of the hit exceeds the burst.
  """
  @type answer :: {:allow, non_neg_integer} | {:deny, pos_integer | :infinity}

  @typedoc "The result of `info/1`."
  @type info :: %{
          name: atom,
          limit: pos_integer,
          per: pos_integer,
          burst: pos_integer,
          keys: non_neg_integer,
          max_keys: pos_integer,
          memory: pos_integer,
          allowed: non_neg_integer,
          denied: non_neg_integer
        }

  @example "{Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000}"

  @doc """
  Returns the child spec of a limiter, with the id `{Penstock.RateLimiter, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.RateLimiter.child_spec(name: MyApp.Api, limit: 5, per: 1_000).id
      {Penstock.RateLimiter, MyApp.Api}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts the owner of a limiter, and links it to the caller.

  If the last owner of that name crashed, the new owner adopts its limiter with the debt of all
  keys: see "Life".

  Returns:

    * `{:ok, pid}` - `pid` is the owner
    * `{:error, {:already_started, pid}}` - the live process `pid` owns a gate of that name. If
      that gate is not a limiter, a warning is logged
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or out of bounds, and if there is
  not enough memory for `:max_keys`.

  ## Options

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:limit` - the average number of hits per `:per` ms: 1 to 2_147_483_647, and at most a
      million per second; required. The limiter allows up to 0.1 % more, because it rounds the
      time of one hit down to a whole ns
    * `:per` - the time in ms that `:limit` refers to, up to a hundred years; required
    * `:burst` - how many hits are allowed back to back: 1 to 2_147_483_647. `burst × per / limit`
      ms must be at most a hundred years. Default: the limit
    * `:max_keys` - how many keys can be active at a time, see "Keys": 1 to 2_147_483_647; at most
      32 bytes are reserved for each. Default `100_000`
    * `:clock` - `:monotonic`, which does not follow the wall clock; or `:manual` for tests, which
      stands still until `advance/2`. Default `:monotonic`

  ## Examples

      iex> {:ok, pid} = Penstock.RateLimiter.start_link(name: MyApp.LoginRate, limit: 5, per: 60_000)
      iex> {:error, {:already_started, ^pid}} = Penstock.RateLimiter.start_link(name: MyApp.LoginRate, limit: 5, per: 60_000)
      iex> Penstock.RateLimiter.info(MyApp.LoginRate).burst
      5

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name, :limit, :per, :burst, :max_keys, :clock])
    name = Options.name!(Options.fetch!(opts, :name, @example))
    %{max_keys: max_keys} = settings = Rate.read!(opts, @example)

    with {:error, :enomem} <- start(name, settings) do
      raise ArgumentError,
            "not enough memory for max_keys: #{max_keys}, which needs #{memory(max_keys)} bytes; lower :max_keys"
    end
  end

  defp memory(max_keys), do: Native.bounds().limiter_key_memory * max_keys

  defp start(name, %{max_keys: max_keys} = settings) do
    if there_already?(name, max_keys) or MemoryGuard.available?(memory(max_keys)),
      do: Owner.start_link(name, :limiter, &own(name, &1, settings)),
      else: {:error, :enomem}
  end

  # Returns `true` if a limiter of that size has the name already. If the owner of that limiter
  # has crashed, the new owner adopts it, and needs no further memory unless `:clock` differs. If
  # that owner is alive, `Owner.start_link/3` returns an error.
  defp there_already?(name, max_keys) do
    match?(%{max_keys: ^max_keys}, Native.rate_info(name))
  end

  defp own(name, owner, settings) do
    with :enomem <- Native.rate_start(name, owner, settings), do: {:error, :enomem}
  end

  @doc """
  Counts a hit of cost 1 on the key `:global`, if the rate allows it, as `hit/3` does.

  Returns `{:allow, remaining}` or `{:deny, retry_after_ms}`. Raises `ArgumentError` if `limiter`
  is not a running limiter.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Everybody, limit: 1, per: 60_000, clock: :manual)
      iex> Penstock.RateLimiter.hit(MyApp.Everybody)
      {:allow, 0}
      iex> Penstock.RateLimiter.hit(MyApp.Everybody)
      {:deny, 60_000}

  """
  @spec hit(limiter) :: answer
  def hit(limiter) do
    case Native.rate_hit(limiter) do
      {_allow_or_deny, _how} = answer -> answer
      :no_limiter -> Limiter.missing!(limiter)
    end
  end

  @doc """
  Counts a hit of a key, if the rate allows it.

  `key` is `:global` by default. `cost` is 1 to 2_147_483_647, by default 1: a hit of cost `n`
  uses up as much of the rate as `n` hits.

  Returns:

    * `{:allow, remaining}` - the hit is counted; `remaining` more hits of cost 1 are allowed at
      this instant
    * `{:deny, retry_after_ms}` - nothing is counted. The same hit would be allowed after that
      time, unless the key is hit again in the meantime. A new key that finds no place is denied
      although it has no debt: see "Keys"
    * `{:deny, :infinity}` - nothing is counted: the cost exceeds the burst

  Raises `ArgumentError` if `limiter` is not a running limiter, the key is `nil` or above 1 KiB,
  or the cost is out of bounds.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Tokens, limit: 1_000, per: 60_000, clock: :manual)
      iex> Penstock.RateLimiter.hit(MyApp.Tokens, "alice", 900)
      {:allow, 100}
      iex> Penstock.RateLimiter.hit(MyApp.Tokens, "alice", 200)
      {:deny, 6_000}
      iex> Penstock.RateLimiter.hit(MyApp.Tokens, "alice", 2_000)
      {:deny, :infinity}

  """
  @spec hit(limiter, term, pos_integer) :: answer
  def hit(limiter, key, cost \\ 1)

  # Makes the first native call here, to save a function call. The next clause takes the keys that
  # are too large, or must be measured before the native call.
  def hit(limiter, key, cost) when not KeySize.is_oversize(key) and not KeySize.is_measured_first(key) do
    case Native.rate_hit(limiter, key, cost, :not_measured) do
      {_allow_or_deny, _how} = answer -> answer
      _no_answer_yet -> hit_asked(limiter, key, cost)
    end
  end

  def hit(limiter, key, cost), do: hit_asked(limiter, key, cost)

  defp hit_asked(limiter, key, cost), do: Limiter.ask(limiter, key, cost, &Native.rate_hit(limiter, key, cost, &1))

  @doc """
  Waits until the rate allows a hit, for outbound calls to a service that limits its callers.

  The caller reserves a *turn*: the first time at which the rate allows its hit, after all turns
  of the key that are reserved already. If that time is within `:timeout`, the hit is counted at
  once, and the caller sleeps until its turn. So the callers of a key continue in the order in
  which they came, at the pace of the rate. No caller is woken without a turn. If a caller dies
  while it sleeps, its turn is wasted. During a `pause/3` of the key, turns are reserved from the
  end of the pause on.

  A new key that finds no place (see "Keys") waits until a place is free, and then for its turn.
  Among such keys there is no order.

  Returns:

    * `:ok` - it is the caller's turn
    * `{:error, {:rate_limited, ms}}` - nothing is reserved: the turn would come after `ms`, which
      is more than `:timeout`
    * `{:error, {:rate_limited, :infinity}}` - nothing is reserved: the cost exceeds the burst

  Raises as `hit/3`, and on an option that is unknown or of the wrong kind.

  > #### Options come after the key {: .warning}
  >
  > Any term is a key, so `acquire(MyApp.Partner, timeout: 10)` takes a turn of the key `[timeout:
  > 10]`, with the default timeout. If you have no key of your own, write
  > `acquire(MyApp.Partner, :global, timeout: 10)`.

  ## Options

    * `:cost` - the cost of the hit: 1 to 2_147_483_647. Default `1`
    * `:timeout` - how long to wait, in ms or `:infinity`; 0 does not wait. Default `5_000`

  ## Precision

  A caller sleeps in whole ms, up to 1 ms too long. If `burst × per / limit` is less than 4 ms,
  such as with a burst of 1 and 5,000 hits per second, that would cost turns. With such a limiter
  the caller therefore sleeps only until about 1 ms before its turn, and then yields to other
  processes until the turn comes. With a burst of 1, up to 10,000 turns per second are possible,
  if the machine has a processor to spare. On a busy machine, use a burst that makes
  `burst × per / limit` 4 ms or more.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Partner, limit: 1, per: 60_000)
      iex> Penstock.RateLimiter.acquire(MyApp.Partner)
      :ok
      iex> {:error, {:rate_limited, ms}} = Penstock.RateLimiter.acquire(MyApp.Partner, :global, timeout: 1_000)
      iex> ms > 59_000
      true

  """
  @spec acquire(limiter, term, cost: pos_integer, timeout: timeout) ::
          :ok | {:error, {:rate_limited, pos_integer | :infinity}}
  def acquire(limiter, key \\ :global, opts \\ []) do
    %{cost: cost, timeout: timeout} = Request.turn!(opts, 5_000)
    Limiter.await_turn(limiter, key, cost, timeout)
  end

  @doc """
  Charges a key for work that is done, such as the tokens of an answer.

  Adds the cost to the debt of the key, even beyond the burst, up to a debt of a hundred years.
  Later hits are denied until the debt has run down far enough. A new key that finds no place (see
  "Keys") is not charged; its hits are denied until a place is free.

  Returns the answer that `peek/2` would give next: `{:allow, remaining}` or `{:deny,
  retry_after_ms}`. Charges do not count as `:allowed` in `info/1`. Raises as `hit/3`.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Tokens1, limit: 10, per: 1_000, clock: :manual)
      iex> Penstock.RateLimiter.charge(MyApp.Tokens1, "alice", 3)
      {:allow, 6}
      iex> Penstock.RateLimiter.charge(MyApp.Tokens1, "alice", 17)
      {:deny, 1_100}

  """
  @spec charge(limiter, term, pos_integer) :: answer
  def charge(limiter, key, cost), do: Limiter.ask(limiter, key, cost, &Native.rate_charge(limiter, key, cost, &1))

  @doc """
  Refunds a part of the charges of a key, such as an estimate that was too high.

  Subtracts the cost from the debt of the key. The debt never falls below zero, so a key never
  gets more than its full burst. A `pause/3` stays in force.

  Returns the answer that `peek/2` would give next: `{:allow, remaining}` or `{:deny,
  retry_after_ms}`. Raises as `hit/3`.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Tokens2, limit: 10, per: 1_000, clock: :manual)
      iex> Penstock.RateLimiter.hit(MyApp.Tokens2, "alice", 8)
      {:allow, 2}
      iex> Penstock.RateLimiter.refund(MyApp.Tokens2, "alice", 5)
      {:allow, 6}
      iex> Penstock.RateLimiter.refund(MyApp.Tokens2, "alice", 100)
      {:allow, 9}

  """
  @spec refund(limiter, term, pos_integer) :: answer
  def refund(limiter, key, cost), do: Limiter.ask(limiter, key, cost, &Native.rate_refund(limiter, key, cost, &1))

  @doc """
  Denies all hits of a key for `ms` milliseconds, as the `Retry-After` of a remote service asks.

  `ms` is 0 to 2_147_483_647. If a pause of the key is in force, the pause that ends later counts.

  The debt of the key is kept and runs down during the pause. A turn that `acquire/3` reserves
  during the pause comes after the pause; a turn that was reserved before the pause keeps its
  time. `reset/2` ends the pause; `refund/3` and `update/2` do not.

  The limiter remembers about 1,024 paused keys at a time, or a 64th of `:max_keys` if that is
  more, up to about 16,384. A pause beyond that number is not lost, but pauses a whole group of
  keys, a sixteenth of all. `reset/2` cannot end a pause of a group. The memory for paused keys is
  not part of the `:memory` of `info/1`.

  Returns `:ok`. Raises as `hit/3`, and if `ms` is out of bounds.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Remote, limit: 10, per: 1_000, clock: :manual)
      iex> Penstock.RateLimiter.pause(MyApp.Remote, "example.com", 3_000)
      :ok
      iex> Penstock.RateLimiter.hit(MyApp.Remote, "example.com")
      {:deny, 3_000}
      iex> Penstock.RateLimiter.advance(MyApp.Remote, 3_000)
      iex> Penstock.RateLimiter.hit(MyApp.Remote, "example.com")
      {:allow, 9}

  """
  @spec pause(limiter, term, non_neg_integer) :: :ok
  def pause(limiter, key, ms) do
    unless is_integer(ms) and ms in 0..0x7FFF_FFFF do
      Options.expected!("ms", "a number of milliseconds between 0 and 2147483647", ms)
    end

    Limiter.ask(limiter, key, 1, &Native.rate_pause(limiter, key, ms, &1))
  end

  @doc """
  Returns the answer that `hit/3` would give for a cost of 1, without counting a hit.

  The key is `:global` by default. Returns `{:allow, remaining}`, where `remaining` does not
  include the hit itself, or `{:deny, retry_after_ms}`.

  Raises `ArgumentError` if `limiter` is not a running limiter, or the key is `nil` or larger
  than 1 KiB.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Peeked, limit: 5, per: 60_000)
      iex> Penstock.RateLimiter.peek(MyApp.Peeked, "bob")
      {:allow, 4}
      iex> Penstock.RateLimiter.hit(MyApp.Peeked, "bob")
      {:allow, 4}

  """
  @spec peek(limiter, term) :: answer
  def peek(limiter, key \\ :global) do
    Limiter.ask(limiter, key, 1, &Native.rate_peek(limiter, key, &1))
  end

  @doc """
  Counts hits on several limiters, if all of them allow their hits.

  Takes a list of at most 16 `{limiter, key, cost}`. The costs of the same limiter and key are
  added up.

  Returns:

    * `:allow` - all hits are counted
    * `{:deny, limiter, retry_after_ms}` - no hit is counted. `limiter` is the one with the
      longest wait
    * `{:deny, limiter, :infinity}` - no hit is counted: the cost exceeds the burst of `limiter`

  Raises as `hit/3`, and on a list that is too long or has other elements.

  ## Concurrent calls

  The call first checks all hits, and then charges one limiter after the other. A limiter may deny
  its hit after the check allowed it, because a concurrent call was faster. The call then takes
  back the charges that it has made, and tries again. After eight tries the call returns
  `{:deny, limiter, 1}`.

  A charge counts until it is taken back: a concurrent hit may be denied, and a concurrent
  `acquire/3` may reserve a later turn than necessary. A charge that is taken back allows no hit
  too many. The only exception is a key that is reset and hit again, to the same debt to the
  nanosecond, while the charge is taken back.

  If the rate is changed, or the key reset or refunded, before the charge is taken back, the
  charge stays and runs down with the clock. The call is then denied without a further try.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.PerIP, limit: 10, per: 1_000)
      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.PerUser, limit: 1, per: 60_000, clock: :manual)
      iex> Penstock.RateLimiter.hit_all([{MyApp.PerIP, "1.2.3.4", 1}, {MyApp.PerUser, "carol", 1}])
      :allow
      iex> Penstock.RateLimiter.hit_all([{MyApp.PerIP, "1.2.3.4", 1}, {MyApp.PerUser, "carol", 1}])
      {:deny, MyApp.PerUser, 60_000}
      iex> Penstock.RateLimiter.info(MyApp.PerIP).allowed
      1

  """
  @spec hit_all([{limiter, term, pos_integer}]) :: :allow | {:deny, limiter, pos_integer | :infinity}
  def hit_all(hits) do
    Limiter.hits!(hits)

    case Native.rate_hit_all(hits) do
      {:no_limiter, limiter} -> Limiter.missing!(limiter)
      answer -> answer
    end
  end

  @doc """
  Forgets the debt of a key, as if the key had never been hit, and ends its `pause/3`.

  The key is `:global` by default. Returns `:ok`, also for an unknown key. Raises as `peek/2`.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Resets, limit: 1, per: 60_000)
      iex> Penstock.RateLimiter.hit(MyApp.Resets, "dave")
      {:allow, 0}
      iex> Penstock.RateLimiter.reset(MyApp.Resets, "dave")
      :ok
      iex> Penstock.RateLimiter.hit(MyApp.Resets, "dave")
      {:allow, 0}

  """
  @spec reset(limiter, term) :: :ok
  def reset(limiter, key \\ :global) do
    Limiter.ask(limiter, key, 1, &Native.rate_reset(limiter, key, &1))
  end

  @doc """
  Changes the rate of a running limiter.

  Each key keeps its debt, which is a time. A debt above the `burst × per / limit` ms of the new
  rate is cut to that time. So a key never waits for longer than a key that has just used up the
  new burst.

  A caller that sleeps in `acquire/3` keeps its turn, although its part of the debt may be cut. So
  later hits may be allowed at the same time as that turn. A `pause/3` stays in force.

  Returns `:ok` when the new rate is in force. Raises `ArgumentError` if `limiter` is not a
  running limiter, or an option is unknown or out of bounds. Also raises if the new values,
  together with those that stay unchanged, exceed a bound of `start_link/1`.

  ## Options

    * `:limit` - the average number of hits per `:per` ms, as in `start_link/1`. Default:
      unchanged
    * `:per` - the time in ms that `:limit` refers to, up to a hundred years. Default: unchanged
    * `:burst` - how many hits are allowed back to back, as in `start_link/1`. Default: unchanged,
      also if the limit changes

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Grows, limit: 1, per: 60_000, clock: :manual)
      iex> Penstock.RateLimiter.hit(MyApp.Grows)
      {:allow, 0}
      iex> Penstock.RateLimiter.update(MyApp.Grows, burst: 3)
      :ok
      iex> Penstock.RateLimiter.hit(MyApp.Grows)
      {:allow, 1}

  """
  @spec update(limiter, limit: pos_integer, per: pos_integer, burst: pos_integer) :: :ok
  def update(limiter, opts), do: Limiter.update(limiter, Options.known!(opts, [:limit, :per, :burst]))

  @doc """
  Returns the rate and the totals of a limiter.

  The result is a map:

    * `:name`
    * `:limit`, `:per`, `:burst` - the values in force
    * `:keys` - the number of active keys, except `:global`; counted by a walk through all places
    * `:max_keys` - as given at start
    * `:memory` - bytes of the places for keys
    * `:allowed`, `:denied` - the numbers of allowed and of denied hits since the limiter was
      started, with the turns of `acquire/3`. An allowed `hit_all/1` counts once for each limiter
      and key; a denied one counts once, on the limiter that it returns

  Raises `ArgumentError` if `limiter` is not a running limiter.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Seen, limit: 1, per: 60_000, max_keys: 1_000)
      iex> Penstock.RateLimiter.hit(MyApp.Seen, "eve")
      iex> Penstock.RateLimiter.hit(MyApp.Seen, "eve")
      iex> Penstock.RateLimiter.info(MyApp.Seen)
      %{name: MyApp.Seen, limit: 1, per: 60_000, burst: 1, keys: 1, max_keys: 1_000, memory: 31_760, allowed: 1, denied: 1}

  """
  @spec info(limiter) :: info
  def info(limiter), do: Limiter.info(limiter)

  @doc """
  Advances the clock of a limiter with `clock: :manual`.

  `ms` is 0 to a hundred years; the clock stops after about 183 years. A caller in `acquire/3`
  sleeps in real time, so this function does not wake it.

  Returns `:ok`. Raises `ArgumentError` if `limiter` is not a running limiter or has another
  clock, or if `ms` is out of bounds.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Clocked, limit: 1, per: 500, clock: :manual)
      iex> Penstock.RateLimiter.hit(MyApp.Clocked)
      {:allow, 0}
      iex> Penstock.RateLimiter.advance(MyApp.Clocked, 200)
      :ok
      iex> Penstock.RateLimiter.hit(MyApp.Clocked)
      {:deny, 300}

  """
  @spec advance(limiter, non_neg_integer) :: :ok
  def advance(limiter, ms) do
    %{century_ms: century_ms} = Native.bounds()

    unless is_integer(ms) and ms in 0..century_ms do
      Options.expected!("ms", "a number of milliseconds between 0 and #{century_ms}", ms)
    end

    case Native.rate_advance(limiter, ms) do
      :ok -> :ok
      :no_limiter -> Limiter.missing!(limiter)
      :badarg -> Options.expected!("limiter", "one with clock: :manual", limiter)
    end
  end
end
