defmodule Penstock.Ban do
  @moduledoc """
  Keeps out for a while who fails too often, longer each time.

      children = [
        {Penstock.Ban, name: MyApp.Logins, failures: 5, within: 60_000, ban_for: 300_000}
      ]

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Logins, failures: 2, within: 60_000, ban_for: 300_000)
      iex> Penstock.Ban.check(MyApp.Logins, "alice")
      :ok
      iex> Penstock.Ban.record_failure(MyApp.Logins, "alice")
      {:ok, 1}
      iex> Penstock.Ban.record_failure(MyApp.Logins, "alice")
      {:banned, 300_000}
      iex> {:banned, ms} = Penstock.Ban.check(MyApp.Logins, "alice")
      iex> ms <= 300_000
      true

  To ask is one thing, and to tell of a failure another: `check/2` before a login, `record_failure/2` only after one that failed. Both are one
  native call and involve no process.

  ## What counts

  `:failures` failures of a key within `:within` ms ban it. Up to nine of them are each counted for exactly that long, to the ms, however many
  come at one time; where more are asked for, those that came close together are counted as long as the last of them, a seventh of `:within` longer
  at most: so a ban may come a little early, but never late. While a key is banned its failures do not count.

  A ban lasts `:ban_for` ms the first time, and each time `:escalate` times as long as the last time; the first as well is cut to `:max_ban`. With
  `escalate: 1` all are of the same length. The number of bans of a key, its *level*, is forgotten `:forget_after` ms after the end of its last ban; or
  early, if there are more than `:max_bans`. `:max_ban` does not cut a ban without end (`ban_for: :infinity`); only `unban/2` or
  `ban/4` ends it.

  ## Keys

  Keys are as in `Penstock.RateLimiter`, and there is no `:global`. They are known by a hash of 64 bits, salted by the node; those that are banned
  are kept as well, for `list/1`, if they have 256 bytes at most in the external term format.

  Memory is bounded: two places for each of `:max_keys` keys whose failures are counted at a time, of 80 bytes, are reserved at start. A key may have any of
  sixteen; if all are others', the one with the fewest and oldest failures is forgotten, which begins to happen where there are as many keys as `:max_keys`. Of each
  ban 64 bytes are reserved, and up to 700 more are used for the key and the reason. If there are more than `:max_bans`, the one that ends first is
  dropped, with its level, and counted in `info/1` if it was not over; bans without end are dropped last.

  The key and the reason of a ban that is over stay in memory, where `list/1` does not show them, as long as its level is, and after that until
  other bans come, or `unban/2`; those of bans that are closed, until their memory is used again.

  ## Life

  Bans belong to the process that `start_link/1` starts. If that ends in an orderly way, all are forgotten; if it crashes, they stay, and the next of that name goes on with
  them, unless `:max_keys`, `:max_bans` or `:clock` differ. The memory of bans that are closed is kept for the next of the same sizes.
  """

  alias Penstock.{Native, Options}
  alias Penstock.Admission.{KeySize, Resolver}
  alias Penstock.Node.{MemoryGuard, Owner}
  alias Penstock.Options.Weight

  @typedoc "The name of running bans."
  @type ban :: atom

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:name, atom}
          | {:failures, pos_integer}
          | {:within, pos_integer}
          | {:ban_for, pos_integer | :infinity}
          | {:escalate, pos_integer}
          | {:max_ban, pos_integer}
          | {:forget_after, pos_integer}
          | {:max_keys, pos_integer}
          | {:max_bans, pos_integer}
          | {:clock, :monotonic | :manual}

  @typedoc "What `info/1` says."
  @type info :: %{
          name: atom,
          failures: pos_integer,
          within: pos_integer,
          ban_for: pos_integer | :infinity,
          escalate: pos_integer,
          max_ban: pos_integer,
          forget_after: pos_integer,
          max_keys: pos_integer,
          max_bans: pos_integer,
          bans: non_neg_integer,
          dropped: non_neg_integer,
          memory: pos_integer
        }

  @day 86_400_000

  # In the order of the native side.
  @options [:failures, :within, :ban_for, :escalate, :max_ban, :forget_after, :max_keys, :max_bans]

  # Bytes for each key, and for each ban.
  @failures 160
  @banned 64

  # Bytes in the external term format that a reason may have.
  @largest_reason 256

  @doc """
  The child spec of bans under a supervisor; the options are those of `start_link/1`, which checks them.

      iex> Penstock.Ban.child_spec(name: MyApp.Logins).id
      {Penstock.Ban, MyApp.Logins}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts bans, or adopts those of a crashed owner, and links their owner to the caller.

  Returns:

    * `{:ok, pid}`
    * `{:error, {:already_started, pid}}` - a live process owns a gate of that name
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or out of bounds, and if the memory cannot be had.

  ## Options

  Numbers are 1 to 2_147_483_647.

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:failures` - how many failures of a key within `:within` ms ban it. Default `5`
    * `:within` - how long a failure counts, in ms. Default `60_000`
    * `:ban_for` - how long the first ban of a key lasts, in ms or `:infinity`. Default `300_000`
    * `:escalate` - how many times as long as the last ban of a key its next one lasts; `1` is no escalation. Default `2`
    * `:max_ban` - how long a ban for failures lasts at most, also the first, in ms; a `:ban_for` of `:infinity` has no such bound. Default
      `86_400_000`, a day, or `:ban_for` if that is more
    * `:forget_after` - how long after the end of its last ban the level of a key is remembered, in ms. Default: `:max_ban`
    * `:max_keys` - of how many keys failures are counted at a time; 160 bytes for each are reserved, 16 MB by default. Default `100_000`
    * `:max_bans` - how many keys are banned, or have a level that is remembered, at a time; 64 bytes for each are reserved. Of more, what ends first
      is forgotten. Default `10_000`
    * `:clock` - `:monotonic`, or `:manual` for tests: it stands still until `advance/2`. Default `:monotonic`

  ## Examples

      iex> {:ok, pid} = Penstock.Ban.start_link(name: MyApp.Started, failures: 3)
      iex> {:error, {:already_started, ^pid}} = Penstock.Ban.start_link(name: MyApp.Started, failures: 3)
      iex> Penstock.Ban.info(MyApp.Started).within
      60_000

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name, :clock | @options])
    name = Options.name!(Options.fetch!(opts, :name, "{Penstock.Ban, name: MyApp.Logins, failures: 5}"))
    ban_for = Keyword.get(opts, :ban_for, 300_000)
    # A default does not cut a first ban of more than a day.
    max_ban = Keyword.get(opts, :max_ban, if(is_integer(ban_for), do: max(ban_for, @day), else: @day))
    given = [ban_for: ban_for, max_ban: max_ban, forget_after: Keyword.get(opts, :forget_after, max_ban)]
    defaults = [failures: 5, within: 60_000, escalate: 2, max_keys: 100_000, max_bans: 10_000]
    given = defaults |> Keyword.merge(opts) |> Keyword.merge(given)
    numbers = for option <- @options, do: number!(option, given[option])
    clock = Options.one_of!(Keyword.get(opts, :clock, :monotonic), ":clock", [:monotonic, :manual])
    given = List.to_tuple(numbers ++ [clock])

    with {:error, :enomem} <- start(name, given) do
      {_failures, _within, _ban_for, _escalate, _max_ban, _forget, max_keys, max_bans, _clock} = given
      bytes = @failures * max_keys + @banned * max_bans
      sizes = "max_keys: #{max_keys} and max_bans: #{max_bans}"
      raise ArgumentError, "not enough memory for #{sizes}, which need #{bytes} bytes; lower one of them"
    end
  end

  defp number!(:ban_for, value), do: ban_ms!(value, ":ban_for")
  defp number!(option, value), do: Options.permits!(value, inspect(option))

  defp ban_ms!(:infinity, _name), do: :infinity
  defp ban_ms!(value, _name) when is_integer(value) and value in 1..0x7FFF_FFFF, do: value
  defp ban_ms!(value, name), do: Options.expected!(name, "an integer between 1 and 2147483647 or :infinity", value)

  defp start(name, given) do
    {_failures, _within, _ban_for, _escalate, _max_ban, _forget, max_keys, max_bans, _clock} = given

    if there_already?(name, max_keys, max_bans) or MemoryGuard.available?(@failures * max_keys + @banned * max_bans),
      do: Owner.start_link(name, :ban, &own(name, &1, given)),
      else: {:error, :enomem}
  end

  # Those of an owner that crashed, or of one that lives, who is then told of.
  defp there_already?(name, max_keys, max_bans) do
    match?(
      {_failures, _within, _ban_for, _escalate, _max, _forget, ^max_keys, ^max_bans, _memory, _dropped},
      Native.ban_info(name)
    )
  end

  defp own(name, owner, given) do
    with :enomem <- Native.ban_start(name, owner, given), do: {:error, :enomem}
  end

  @doc """
  Whether a key is banned.

  Returns `:ok`, or `{:banned, ms}` with the ms until its ban ends, or `{:banned, :infinity}` for a ban without end.

  Raises `ArgumentError` if no such bans are running, or the key is `nil` or above 1 KiB.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Checked, clock: :manual)
      iex> Penstock.Ban.ban(MyApp.Checked, "mallory", 1_000)
      iex> Penstock.Ban.check(MyApp.Checked, "mallory")
      {:banned, 1_000}
      iex> Penstock.Ban.check(MyApp.Checked, "alice")
      :ok

  """
  @spec check(ban, term) :: :ok | {:banned, pos_integer | :infinity}
  def check(ban, key), do: ask(ban, key, &Native.ban_check(ban, key, &1))

  @doc """
  Tells of a failure of a key.

  Returns:

    * `{:ok, left}` - so many more would ban it; all of them, if it was forgiven at that moment
    * `{:banned, ms}` - it is banned, by this failure or before; `:infinity` for a ban without end

  Raises as `check/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Recorded, failures: 2, ban_for: 100, clock: :manual)
      iex> for _ <- 1..3, do: Penstock.Ban.record_failure(MyApp.Recorded, {10, 0, 0, 1})
      [{:ok, 1}, {:banned, 100}, {:banned, 100}]
      iex> Penstock.Ban.advance(MyApp.Recorded, 100)
      iex> for _ <- 1..2, do: Penstock.Ban.record_failure(MyApp.Recorded, {10, 0, 0, 1})
      [{:ok, 1}, {:banned, 200}]

  """
  @spec record_failure(ban, term) :: {:ok, pos_integer} | {:banned, pos_integer | :infinity}
  def record_failure(ban, key), do: ask(ban, key, &Native.ban_record(ban, key, &1))

  @doc """
  Bans a key for `ms`, whatever it did; for `:infinity`, until `unban/2`. A ban that is in force gets the new end.

  The reason is for `list/1`: any term of at most 256 bytes in the external term format. The level stays what it was, and failures that were counted stay
  counted.

  Returns `:ok`. Raises as `check/2`, and if `ms` is neither 1 to 2_147_483_647 nor `:infinity`, or the reason is too large.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.ByHand, clock: :manual)
      iex> Penstock.Ban.ban(MyApp.ByHand, "mallory", 60_000, "sent spam")
      :ok
      iex> Penstock.Ban.list(MyApp.ByHand)
      [%{key: "mallory", until_ms: 60_000, reason: "sent spam", level: 0}]
      iex> Penstock.Ban.ban(MyApp.ByHand, "mallory", :infinity)
      iex> Penstock.Ban.check(MyApp.ByHand, "mallory")
      {:banned, :infinity}

  """
  @spec ban(ban, term, pos_integer | :infinity, term) :: :ok
  def ban(ban, key, ms, reason \\ :manual) do
    ban_ms!(ms, "ms")

    unless Weight.fits?(reason, @largest_reason) do
      Options.expected!("reason", "of at most #{@largest_reason} bytes in the external term format", reason)
    end

    # Made here, where it yields: the native side takes bytes of a known number.
    reason = :erlang.term_to_binary(reason)
    ask(ban, key, &Native.ban_put(ban, key, ms, reason, &1))
  end

  @doc """
  Forgets all about a key: its ban, its failures and its level.

  Returns `:ok`, also if there was nothing to forget. Raises as `check/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Forgiving, failures: 1)
      iex> {:banned, 300_000} = Penstock.Ban.record_failure(MyApp.Forgiving, "bob")
      iex> Penstock.Ban.unban(MyApp.Forgiving, "bob")
      :ok
      iex> Penstock.Ban.check(MyApp.Forgiving, "bob")
      :ok

  """
  @spec unban(ban, term) :: :ok
  def unban(ban, key), do: ask(ban, key, &Native.ban_remove(ban, key, &1))

  defp ask(ban, key, ask) do
    with :no_ban <- KeySize.ask(key, ask), do: no_ban!(ban)
  end

  @doc """
  Who is banned now.

  Returns a list of maps, those that last longest first:

    * `:key` - as it was given, or `{:hash, number}` of one that was too large to be kept, which is for people: other functions take the
      key itself
    * `:until_ms` - ms until the ban ends, or `:infinity`
    * `:reason` - `:failures`, or what was given to `ban/4`
    * `:level` - how often it was banned for its failures, as far as that is remembered; see "What counts"

  Raises as `check/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Listing, failures: 1, clock: :manual)
      iex> Penstock.Ban.record_failure(MyApp.Listing, {:user, 7})
      iex> Penstock.Ban.list(MyApp.Listing)
      [%{key: {:user, 7}, until_ms: 300_000, reason: :failures, level: 1}]

  """
  @spec list(ban) :: [%{key: term, until_ms: pos_integer | :infinity, reason: term, level: non_neg_integer}]
  def list(ban) do
    listed =
      for {key, until_ms, reason, level} <- listed(ban, 0) do
        %{key: kept(key), until_ms: until_ms, reason: :erlang.binary_to_term(reason), level: level}
      end

    # `:infinity` is greater than any number.
    Enum.sort_by(listed, & &1.until_ms, :desc)
  end

  # By parts.
  defp listed(ban, from) do
    case Native.ban_list(ban, from) do
      {:done, found} -> found
      {next, found} -> found ++ listed(ban, next)
      :no_ban -> no_ban!(ban)
    end
  end

  defp kept(hash) when is_integer(hash), do: {:hash, hash}
  defp kept(external), do: :erlang.binary_to_term(external)

  @doc """
  What the bans are like now.

  Returns a map:

    * `:name`
    * `:failures`, `:within`, `:ban_for`, `:escalate`, `:max_ban`, `:forget_after`, `:max_keys`, `:max_bans` - as in `start_link/1`
    * `:bans` - how many keys are banned
    * `:dropped` - how many bans were dropped before their end, as there were too many
    * `:memory` - bytes that are reserved

  Raises as `check/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Informed, max_bans: 1)
      iex> for user <- 1..3, do: Penstock.Ban.ban(MyApp.Informed, user, 1_000)
      iex> %{bans: 1, dropped: 2, failures: 5} = Penstock.Ban.info(MyApp.Informed)
      iex> Penstock.Ban.info(MyApp.Informed).name
      MyApp.Informed

  """
  @spec info(ban) :: info
  def info(ban) do
    case Native.ban_info(ban) do
      :no_ban ->
        no_ban!(ban)

      {failures, within, ban_for, escalate, max_ban, forget_after, max_keys, max_bans, memory, dropped} ->
        %{
          name: ban,
          failures: failures,
          within: within,
          ban_for: ban_for,
          escalate: escalate,
          max_ban: max_ban,
          forget_after: forget_after,
          max_keys: max_keys,
          max_bans: max_bans,
          bans: count(ban, 0, 0),
          dropped: dropped,
          memory: memory
        }
    end
  end

  defp count(ban, from, sum) do
    case Native.ban_count(ban, from) do
      {count, :done} -> sum + count
      {count, next} -> count(ban, next, sum + count)
      :no_ban -> no_ban!(ban)
    end
  end

  @doc """
  Lets time pass for bans with `clock: :manual`.

  Returns `:ok`. Raises `ArgumentError` if their clock is another, no such bans are running, or `ms` is not 0 to 2_147_483_647. The clock stops
  after some 180 years.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.ClockedBans, clock: :manual)
      iex> Penstock.Ban.ban(MyApp.ClockedBans, "mallory", 100)
      iex> Penstock.Ban.advance(MyApp.ClockedBans, 99)
      :ok
      iex> Penstock.Ban.check(MyApp.ClockedBans, "mallory")
      {:banned, 1}

  """
  @spec advance(ban, non_neg_integer) :: :ok
  def advance(ban, ms) do
    unless ms == 0, do: Options.permits!(ms, "ms")

    case Native.ban_advance(ban, ms) do
      :ok -> :ok
      :no_ban -> no_ban!(ban)
      :badarg -> Options.expected!("ban", "one with clock: :manual", ban)
    end
  end

  defp no_ban!(name) when is_atom(name), do: Resolver.not_running!(:ban, name)
  defp no_ban!(other), do: Options.expected!("ban", "the name of a ban", other)
end
