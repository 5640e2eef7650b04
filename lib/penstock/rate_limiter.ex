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

  A hit is one native call and involves no process. On average `:limit` hits per `:per` ms are
  allowed, and at most `:burst` of them back to back. Evenly spaced hits at that rate are never
  denied. There are no fixed windows, so the limit cannot be doubled at a window boundary.
  `retry_after_ms` is exact: a hit after that delay succeeds unless the key was hit again in the
  meantime.

  ## Keys

  A key is any term, such as a user's id, of at most 1 KiB in the external term format: hash
  larger terms. Terms that are `===` are one key; `0.0` and `-0.0` are one key too. `:global` is
  the key of callers that give none. `nil` is not a key: use `:anonymous`.

  The memory for keys is fixed at start: at most two places of 16 bytes for each of `:max_keys`.
  It does not grow, and no process sweeps it. A key whose bucket is full again equals one that was
  never seen, so its place may serve another key. The place of any other key is kept, so a flood
  of new keys cannot reset the limit of an active key.

  A new key is denied, with the time until the first place is free, when active keys take every
  place that it may use. With `:max_keys` active keys, fewer than one new key in a million is
  denied for lack of space. Beyond about twice `:max_keys`, nearly every new key is.

  The limiter stores a hash of each key, of 64 bits, salted by the node. Two keys with the same
  hash would share one limit: the probability that any two of a million keys do is below one in
  ten million. An attacker cannot construct such keys without the salt.

  ## Life

  A limiter belongs to the process that `start_link/1` starts. If that process ends in an orderly
  way, the limiter closes. If it crashes, the state of all keys stays, and the next limiter of
  that name continues with it, unless `:max_keys` or `:clock` differ.

  The memory of a closed limiter is kept for the next one with the same `:max_keys`, of any name.
  Memory is therefore bounded by the peak number of open limiters of each size. Do not start
  limiters with ever-changing `:max_keys`: each size is kept.

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
  alias Penstock.Admission.{KeySize, Request, Resolver, Turn}
  alias Penstock.Node.{MemoryGuard, Owner}

  require KeySize

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
  How many more hits are allowed right now; or how long to wait, in ms, `:infinity` if the cost
  exceeds the burst.
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

  # The most hits that `hit_all/1` takes.
  @several 16

  @doc """
  Returns the child spec of a limiter. The options are those of `start_link/1`, which checks them.

      iex> Penstock.RateLimiter.child_spec(name: MyApp.Api, limit: 5, per: 1_000).id
      {Penstock.RateLimiter, MyApp.Api}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts a limiter, or adopts the limiter of a crashed owner, and links the owner to the caller.

  Returns:

    * `{:ok, pid}`
    * `{:error, {:already_started, pid}}` - a live process owns a gate of that name
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or out of bounds, and if there is
  not enough memory for `:max_keys`.

  ## Options

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:limit` - the average number of hits per `:per` ms: 1 to 2_147_483_647, and at most a
      million per second; required. It is exact within 0.05 %, because the time for one hit is
      rounded to a ns
    * `:per` - a time in ms, up to a hundred years; required
    * `:burst` - how many hits may arrive back to back: 1 to 2_147_483_647, worth up to a hundred
      years of the rate. Default: the limit
    * `:max_keys` - how many keys can be active at a time; 32 bytes are reserved for each. Default
      `100_000`
    * `:clock` - `:monotonic`, or `:manual` for tests. Default `:monotonic`: it does not follow
      the wall clock

  ## Examples

      iex> {:ok, pid} = Penstock.RateLimiter.start_link(name: MyApp.Logins, limit: 5, per: 60_000)
      iex> {:error, {:already_started, ^pid}} = Penstock.RateLimiter.start_link(name: MyApp.Logins, limit: 5, per: 60_000)
      iex> Penstock.RateLimiter.info(MyApp.Logins).burst
      5

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name, :limit, :per, :burst, :max_keys, :clock])
    name = Options.name!(Options.fetch!(opts, :name, @example))
    limit = Options.permits!(Options.fetch!(opts, :limit, @example), ":limit")
    per = Options.fetch!(opts, :per, @example)
    burst = Keyword.get(opts, :burst, limit)
    rate!(limit, per, burst)
    max_keys = Options.permits!(Keyword.get(opts, :max_keys, 100_000), ":max_keys")
    clock = Options.one_of!(Keyword.get(opts, :clock, :monotonic), ":clock", [:monotonic, :manual])

    settings = %{limit: limit, per: per, burst: burst, max_keys: max_keys, clock: clock}

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

  # Returns `true` if a limiter of that size exists: of a crashed owner, or of a live one, which
  # `Owner.start_link/3` then reports.
  defp there_already?(name, max_keys) do
    match?(%{max_keys: ^max_keys}, Native.rate_info(name))
  end

  defp own(name, owner, settings) do
    with :enomem <- Native.rate_start(name, owner, settings), do: {:error, :enomem}
  end

  # Checks each number alone, and then their combinations.
  defp rate!(limit, per, burst) do
    %{century_ms: century_ms, hits_per_ms: hits_per_ms} = Native.bounds()
    Options.permits!(limit, ":limit")

    unless is_integer(per) and per in 1..century_ms do
      Options.expected!(":per", "a number of milliseconds between 1 and #{century_ms}", per)
    end

    Options.permits!(burst, ":burst")

    if limit > per * hits_per_ms do
      Options.expected!(":limit", "at most a million per second", limit: limit, per: per)
    end

    if burst * per > limit * century_ms do
      Options.expected!(":burst", "worth a hundred years at most", burst: burst, limit: limit, per: per)
    end
  end

  @doc """
  Counts a hit of cost 1 on the key `:global`, as `hit/3` does.

  Returns `{:allow, remaining}` or `{:deny, retry_after_ms}`. Raises `ArgumentError` if no such
  limiter is running.

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
      :no_limiter -> no_limiter!(limiter)
    end
  end

  @doc """
  Counts a hit, if the rate allows it.

  Returns:

    * `{:allow, remaining}` - `remaining` more hits of cost 1 are allowed right now
    * `{:deny, retry_after_ms}` - the hit would be allowed after that time, unless the key is hit
      again in the meantime; a denied hit costs nothing. A new key that finds no place is denied
      even if it never hit: see "Keys"
    * `{:deny, :infinity}` - the cost exceeds the burst

  Raises `ArgumentError` if no such limiter is running, the key is `nil` or above 1 KiB, or the
  cost is not 1 to 2_147_483_647.

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

  # One native call, without a further function in between.
  def hit(limiter, key, cost) when not KeySize.is_oversize(key) and not KeySize.is_measured_first(key) do
    case Native.rate_hit(limiter, key, cost, :not_measured) do
      {_allow_or_deny, _how} = answer -> answer
      _no_answer_yet -> hit_asked(limiter, key, cost)
    end
  end

  def hit(limiter, key, cost), do: hit_asked(limiter, key, cost)

  defp hit_asked(limiter, key, cost), do: ask(limiter, key, cost, &Native.rate_hit(limiter, key, cost, &1))

  defp ask(limiter, key, cost, ask) do
    case KeySize.ask(key, ask) do
      :no_limiter -> no_limiter!(limiter)
      :badarg -> bad_cost!(cost)
      answer -> answer
    end
  end

  defp bad_cost!([{:cost, cost}]) do
    hint = "the cost is the third argument: hit(limiter, key, #{Options.show(cost)})"
    Options.expected!("cost", "an integer between 1 and 2147483647", [cost: cost], hint)
  end

  defp bad_cost!(cost), do: Options.permits!(cost, "cost")

  @doc """
  Waits for a turn, for outbound calls to a service that limits its callers.

  A turn that comes within `:timeout` is reserved at once; the caller then sleeps until it comes.
  So callers leave in the order in which they came, at the limiter's pace, and no caller is woken
  without a turn. A caller that dies while it waits wastes its turn. A new key that finds no place
  (see "Keys") waits until a place is free, and then for its turn, in no order.

  The wait is exact if the limiter's burst is worth less than 4 ms, such as 1 of 5,000 per second:
  the caller sleeps, and in about the last ms yields to every process that can run. So a burst of
  1 reaches rates of up to 10,000 per second, if the machine has a processor to spare. On a busy
  machine, give the limiter a burst that is worth 4 ms or more.

  Returns:

    * `:ok` - it is the caller's turn
    * `{:error, {:rate_limited, ms}}` - the turn would come after `ms`, which exceeds `:timeout`;
      or `:infinity` if the cost exceeds the burst. Nothing is reserved

  Raises as `hit/3`, and on an option that is unknown or of the wrong kind.

  > #### Options come after the key {: .warning}
  >
  > Any term is a key, so `acquire(MyApp.Partner, timeout: 10)` takes a turn of the key `[timeout:
  > 10]`. Without a key of your own, write `acquire(MyApp.Partner, :global, timeout: 10)`.

  ## Options

    * `:cost` - the cost of the turn. Default `1`
    * `:timeout` - how long to wait, in ms or `:infinity`. Default `5_000`

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
    reserve(limiter, key, cost, timeout)
  end

  defp reserve(limiter, key, cost, timeout) do
    case ask(limiter, key, cost, &Native.rate_reserve(limiter, key, cost, timeout, &1)) do
      {:deny, ms} ->
        {:error, {:rate_limited, ms}}

      # Other keys may take the place first.
      {:no_place, ms} ->
        Turn.sleep(ms)
        reserve(limiter, key, cost, if(timeout == :infinity, do: :infinity, else: max(timeout - ms, 0)))

      {:within, ns} ->
        Turn.sleep_exactly(ns)

      0 ->
        :ok

      ms ->
        Turn.sleep(ms)
    end
  end

  @doc """
  Charges a key for work that is done, such as the tokens of an answer.

  The cost is charged even beyond the burst, up to a hundred years of the rate: the next hits wait
  for it. A key that finds no place (see "Keys") is not charged; it is denied until a place is
  free.

  Returns `{:allow, remaining}` or `{:deny, retry_after_ms}`, as `peek/2` would after it. Raises
  as `hit/3`. Charges are not counted among the `:allowed` of `info/1`.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Tokens1, limit: 10, per: 1_000, clock: :manual)
      iex> Penstock.RateLimiter.charge(MyApp.Tokens1, "alice", 3)
      {:allow, 6}
      iex> Penstock.RateLimiter.charge(MyApp.Tokens1, "alice", 17)
      {:deny, 1_100}

  """
  @spec charge(limiter, term, pos_integer) :: answer
  def charge(limiter, key, cost), do: ask(limiter, key, cost, &Native.rate_charge(limiter, key, cost, &1))

  @doc """
  Refunds a part of the charges of a key, such as an estimate that was too high.

  A key never gets more than its full burst. Charges that have run out are not refunded again, and
  a pause stays in force.

  Returns `{:allow, remaining}` or `{:deny, retry_after_ms}`, as `peek/2` would after it. Raises
  as `hit/3`.

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
  def refund(limiter, key, cost), do: ask(limiter, key, cost, &Native.rate_refund(limiter, key, cost, &1))

  @doc """
  Denies all hits of a key for `ms` milliseconds, for the `Retry-After` of a remote service.

  A longer pause that is in force stays. The debt of the key stays too and runs out during the
  pause. Turns that `acquire/3` reserves during the pause begin after it, at the pace of the rate;
  turns that were reserved before it keep their time. `reset/2` ends the pause of the key;
  `refund/3` and `update/2` do not.

  Pauses take memory of their own, which `info/1` does not count.

  About 1,024 keys can be paused at a time; or a 64th of `:max_keys`, if that is more, up to about
  16,384. A pause beyond that is not lost: it holds for a sixteenth of all keys until it ends, and
  `reset/2` does not end it for these.

  Returns `:ok`. Raises as `hit/3`, and if `ms` is not 0 to 2_147_483_647.

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

    ask(limiter, key, 1, &Native.rate_pause(limiter, key, ms, &1))
  end

  @doc """
  Returns the answer that `hit/3` would give for a cost of 1, without counting a hit.

  Returns `{:allow, remaining}`, as it would be after the hit, or `{:deny, retry_after_ms}`.
  Raises `ArgumentError` if no such limiter is running, or the key is `nil` or above 1 KiB.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Peeked, limit: 5, per: 60_000)
      iex> Penstock.RateLimiter.peek(MyApp.Peeked, "bob")
      {:allow, 4}
      iex> Penstock.RateLimiter.hit(MyApp.Peeked, "bob")
      {:allow, 4}

  """
  @spec peek(limiter, term) :: answer
  def peek(limiter, key \\ :global) do
    ask(limiter, key, 1, &Native.rate_peek(limiter, key, &1))
  end

  @doc """
  Counts hits on several limiters, if all of them allow it.

  Takes a list of at most #{@several} `{limiter, key, cost}`. The costs of the same limiter and
  key are added up.

  Returns:

    * `:allow` - all are counted
    * `{:deny, limiter, retry_after_ms}` - no hit is counted. The limiter is the one with the
      longest wait, which is `:infinity` if a cost exceeds its burst

  Charges are tentative until all limiters allow their hits, and are taken back otherwise. While
  they are tentative, a concurrent hit may be denied, and a concurrent `acquire/3` may reserve a
  later slot than necessary. A tentative charge never allows a hit, unless its key is reset and
  hit again within the same nanosecond. It stays if the rate is changed, or the key reset, at that
  moment. If concurrent calls win repeatedly, the call is denied for 1 ms.

  Raises as `hit/3`, and on a list that is too long or has other elements.

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
    several!(hits)
    Enum.each(hits, &check!/1)

    case Native.rate_hit_all(hits) do
      {:no_limiter, limiter} -> no_limiter!(limiter)
      answer -> answer
    end
  end

  defp several!(hits), do: several!(hits, hits, @several)

  # Walks no further than the allowed number of hits.
  defp several!([], _hits, _more), do: :ok
  defp several!([_ | rest], hits, more) when more > 0, do: several!(rest, hits, more - 1)

  defp several!(_rest, hits, _more) do
    Options.expected!("hits", "a list of at most #{@several} {limiter, key, cost}", hits)
  end

  defp check!({_limiter, key, cost}) do
    Options.permits!(cost, "cost")
    KeySize.check!(key)
  end

  defp check!(other), do: Options.expected!("hits", "a list of {limiter, key, cost}", other)

  @doc """
  Forgets the hits of a key, as if it had never hit.

  Returns `:ok`. Raises as `hit/3`.

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
    ask(limiter, key, 1, &Native.rate_reset(limiter, key, &1))
  end

  @doc """
  Changes the rate of a running limiter.

  Each key keeps its debt as a time, cut to the worth of the new burst. Turns that `acquire/3` has
  reserved keep their time, but count no more than that either: other hits may fall on the same
  time.

  Returns `:ok`. Raises as `start_link/1` and `hit/3`.

  ## Options

    * `:limit`, `:per`, `:burst` - as in `start_link/1`. Default: unchanged

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
  def update(limiter, opts) do
    opts = Options.known!(opts, [:limit, :per, :burst])
    check_rate!(limiter, opts)
    [limit, per, burst] = for option <- [:limit, :per, :burst], do: Keyword.get(opts, option, :keep)
    update(limiter, opts, {limit, per, burst}, nil)
  end

  # Checks the new values together with those that stay.
  defp check_rate!(limiter, opts) do
    %{limit: limit, per: per, burst: burst} = native_info!(limiter)
    rate!(Keyword.get(opts, :limit, limit), Keyword.get(opts, :per, per), Keyword.get(opts, :burst, burst))
  end

  # The native side does a bounded part of the update in each call.
  defp update(limiter, opts, {limit, per, burst} = rate, from) do
    case Native.rate_update(limiter, limit, per, burst, from) do
      :ok ->
        :ok

      :no_limiter ->
        no_limiter!(limiter)

      # A concurrent update changed a value that stays. The new values either do not go with it,
      # which raises, or are tried again.
      :badarg ->
        # The concurrent update may have been published and not be in force yet.
        update(limiter, [], {:keep, :keep, :keep}, nil)
        check_rate!(limiter, opts)
        update(limiter, opts, rate, nil)

      next ->
        update(limiter, opts, rate, next)
    end
  end

  @doc """
  Returns the rate and the totals of a limiter.

  The result is a map:

    * `:name`
    * `:limit`, `:per`, `:burst` - the values in force
    * `:keys` - the number of active keys, whose bucket is not full; counted by a scan of all
      places, without `:global`
    * `:max_keys` - as given at start
    * `:memory` - bytes of the places for keys
    * `:allowed`, `:denied` - hits and turns since the limiter was started. Of `hit_all/1` each
      limiter counts its own hits; a denial counts on the limiter that is returned

  Raises as `hit/3`.

  ## Examples

      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.Seen, limit: 1, per: 60_000, max_keys: 1_000)
      iex> Penstock.RateLimiter.hit(MyApp.Seen, "eve")
      iex> Penstock.RateLimiter.hit(MyApp.Seen, "eve")
      iex> Penstock.RateLimiter.info(MyApp.Seen)
      %{name: MyApp.Seen, limit: 1, per: 60_000, burst: 1, keys: 1, max_keys: 1_000, memory: 31_760, allowed: 1, denied: 1}

  """
  @spec info(limiter) :: info
  def info(limiter) do
    Map.merge(native_info!(limiter), %{name: limiter, keys: keys(limiter, 0, 0)})
  end

  defp native_info!(limiter) do
    with :no_limiter <- Native.rate_info(limiter), do: no_limiter!(limiter)
  end

  defp keys(limiter, position, sum) do
    case Native.rate_keys(limiter, position) do
      {keys, :done} -> sum + keys
      {keys, next} -> keys(limiter, next, sum + keys)
      :no_limiter -> no_limiter!(limiter)
    end
  end

  @doc """
  Advances the clock of a limiter with `clock: :manual`.

  Returns `:ok`. Raises `ArgumentError` if the limiter has another clock, no such limiter is
  running, or `ms` is negative or more than a hundred years. A caller of `acquire/3` waits in real
  time. The clock stops after about 180 years.

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
      :no_limiter -> no_limiter!(limiter)
      :badarg -> Options.expected!("limiter", "one with clock: :manual", limiter)
    end
  end

  defp no_limiter!(name) when is_atom(name), do: Resolver.not_running!(:limiter, name)
  defp no_limiter!(other), do: Options.expected!("limiter", "the name of a limiter", other)
end
