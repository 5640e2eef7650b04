defmodule Penstock.Ban do
  @moduledoc """
  Bans each key that fails too often: for a time at first, and for longer each time after that.

      children = [
        {Penstock.Ban, name: MyApp.LoginBans, failures: 5, within: 60_000, ban_for: 300_000}
      ]

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.LoginBans, failures: 2, within: 60_000, ban_for: 300_000)
      iex> Penstock.Ban.check(MyApp.LoginBans, "alice")
      :ok
      iex> Penstock.Ban.record_failure(MyApp.LoginBans, "alice")
      {:ok, 1}
      iex> Penstock.Ban.record_failure(MyApp.LoginBans, "alice")
      {:banned, 300_000}
      iex> {:banned, ms} = Penstock.Ban.check(MyApp.LoginBans, "alice")
      iex> ms <= 300_000
      true

  `start_link/1` makes one *list* of bans under a name. A check and the record of a failure are
  separate: call `check/2` before a login, and `record_failure/2` only after a login that failed.
  Both are native calls, in which no other process takes part.

  A ban list is also a *gate*: functions such as `Penstock.spawn/3` check the key before they
  start work. See [Gates with keys](Penstock.html#module-gates-with-keys).

  Ban addresses, not accounts: any client can get an account banned, and so lock its owner out.
  [Logins](rate_limiting.html#logins) has a recipe with a ban and two rates.

  ## What counts

  A key is banned after `:failures` failures within `:within` ms. If `:failures` is at most nine,
  each failure counts for exactly that time, to the ms, no matter how many come at once. If it is
  more, failures that came close together count until the last of them expires, at most a seventh
  of `:within` longer. So a ban may come a little early. A ban comes late only if the list has
  forgotten failures: see "Memory". While a key is banned, its failures do not count.

  The first ban lasts `:ban_for` ms. Each further ban lasts `:escalate` times as long as the last,
  but at most `:max_ban` ms. With `escalate: 1` all bans have the same length. The *level* of a
  key is how often it was banned for its failures. The list forgets the level `:forget_after` ms
  after the end of the key's last ban, or earlier if the list has no room.

  `:max_ban` does not bound a ban without end (`ban_for: :infinity`). Such a ban ends only by
  `unban/2` or `ban/4`, or if the list has no room.

  ## Keys

  Keys are as in `Penstock.RateLimiter`, except that there is no `:global`. The list identifies a
  key by a hash of 64 bits, salted by the node. It also stores a banned key, for `list/1`, if the
  key has at most 256 bytes in the external term format.

  ## Memory

  Memory is bounded. `:max_keys` is the number of keys whose failures the list counts at a time.
  For each of them the list reserves two places of 80 bytes at its start. A key may have any of
  sixteen places. If other keys have all sixteen, the list forgets the failures of one of these
  keys: the key with the fewest failures, and of several such keys the one whose last failure is
  oldest. That begins to happen at about `:max_keys` keys.

  For each of `:max_bans` bans the list reserves 64 bytes, and uses up to 700 more for the key and
  the reason. If there is no room for another ban, the list drops the ban that ends first, with
  its level. So bans without end are dropped last. `info/1` counts the dropped bans that were in
  force.

  The key and the reason of an ended ban stay in memory at least until the level is forgotten.
  After that, later bans remove them. `unban/2` removes them at once. `list/1` does not show them.
  The keys and reasons of a closed list stay until another list uses its memory.

  ## Life

  The process that `start_link/1` starts is the *owner* of the list. When the owner ends with the
  reason `:normal`, `:shutdown` or `{:shutdown, term}`, the list closes, and all bans are
  forgotten. When the owner crashes, the bans stay. The next `start_link/1` of that name adopts
  them, unless `:max_keys`, `:max_bans` or `:clock` differ. The VM keeps the memory of a closed
  list for the next list of the same sizes.
  """

  alias Penstock.{Native, Options}
  alias Penstock.Admission.{BanReport, KeySize, Resolver}
  alias Penstock.Node.{MemoryGuard, Owner}
  alias Penstock.Options.Weight
  alias Penstock.Telemetry.BanEvent
  alias Penstock.Test.Ownership.Seam

  use Seam, gates: [:check, :record_failure, :ban, :unban, :list, :info, :advance], shown: [:info]

  @typedoc "The name of a running ban list."
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

  @typedoc "The result of `info/1`."
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

  @options [:failures, :within, :ban_for, :escalate, :max_ban, :forget_after, :max_keys, :max_bans]

  @doc """
  Returns the child spec of a ban list, with the id `{Penstock.Ban, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.Ban.child_spec(name: MyApp.LoginBans).id
      {Penstock.Ban, MyApp.LoginBans}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts the owner of a ban list, and links it to the caller.

  If the last owner of that name crashed, the new owner adopts its bans: see "Life".

  Returns:

    * `{:ok, pid}` - `pid` is the owner
    * `{:error, {:already_started, pid}}` - the live process `pid` owns a gate of that name. If
      that gate is not a ban list, this logs a warning
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or out of bounds, and if there is
  not enough memory.

  ## Options

  All numbers are 1 to 2_147_483_647.

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:failures` - the number of failures within `:within` ms that bans a key. Default `5`
    * `:within` - how long a failure counts, in ms. Default `60_000`
    * `:ban_for` - how long the first ban of a key lasts, in ms or `:infinity`. Default `300_000`
    * `:escalate` - the factor by which each ban of a key is longer than the last; `1` gives all
      bans the same length. Default `2`
    * `:max_ban` - the longest duration in ms of a ban for failures, including the first; a
      `:ban_for` of `:infinity` has no such bound. Default `86_400_000`, a day, or `:ban_for` if
      that is more
    * `:forget_after` - how long the level of a key is remembered after the end of its last ban,
      in ms. Default: `:max_ban`
    * `:max_keys` - the number of keys whose failures are counted at a time; 160 bytes are
      reserved for each, 16 MB by default. Default `100_000`
    * `:max_bans` - the number of keys that are banned, or have a level, at a time; 64 bytes are
      reserved for each. Beyond that number, the ban that ends first is dropped. Default `10_000`
    * `:clock` - `:monotonic`, or `:manual` for tests: a manual clock stands still until
      `advance/2`. Default `:monotonic`

  ## Examples

      iex> {:ok, pid} = Penstock.Ban.start_link(name: MyApp.Started, failures: 3)
      iex> {:error, {:already_started, ^pid}} = Penstock.Ban.start_link(name: MyApp.Started, failures: 3)
      iex> Penstock.Ban.info(MyApp.Started).within
      60_000

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name, :clock | @options])
    name = Options.name!(Options.fetch!(opts, :name, "{Penstock.Ban, name: MyApp.LoginBans, failures: 5}"))
    ban_for = Keyword.get(opts, :ban_for, 300_000)
    # The default of `:max_ban` must not cut a first ban of more than a day.
    max_ban = Keyword.get(opts, :max_ban, if(is_integer(ban_for), do: max(ban_for, @day), else: @day))
    given = [ban_for: ban_for, max_ban: max_ban, forget_after: Keyword.get(opts, :forget_after, max_ban)]
    defaults = [failures: 5, within: 60_000, escalate: 2, max_keys: 100_000, max_bans: 10_000]
    given = defaults |> Keyword.merge(opts) |> Keyword.merge(given)
    settings = for option <- @options, into: %{}, do: {option, number!(option, given[option])}
    clock = Options.one_of!(Keyword.get(opts, :clock, :monotonic), ":clock", [:monotonic, :manual])

    with {:error, :enomem} <- start(name, Map.put(settings, :clock, clock)) do
      %{max_keys: max_keys, max_bans: max_bans} = settings
      sizes = "max_keys: #{max_keys} and max_bans: #{max_bans}"

      raise ArgumentError,
            "not enough memory for #{sizes}, which need #{memory(settings)} bytes; lower one of them"
    end
  end

  defp number!(:ban_for, value), do: ban_ms!(value, ":ban_for")
  defp number!(option, value), do: Options.permits!(value, inspect(option))

  defp ban_ms!(:infinity, _name), do: :infinity
  defp ban_ms!(value, _name) when is_integer(value) and value in 1..0x7FFF_FFFF, do: value
  defp ban_ms!(value, name), do: Options.expected!(name, "an integer between 1 and 2147483647 or :infinity", value)

  defp start(name, %{max_keys: max_keys, max_bans: max_bans} = settings) do
    if there_already?(name, max_keys, max_bans) or MemoryGuard.available?(memory(settings)),
      do: Owner.start_link(name, :ban, &own(name, &1, settings)),
      else: {:error, :enomem}
  end

  # Returns the bytes that a list of these sizes reserves.
  defp memory(%{max_keys: max_keys, max_bans: max_bans}) do
    %{ban_key_memory: key_memory, ban_memory: ban_memory} = Native.bounds()
    key_memory * max_keys + ban_memory * max_bans
  end

  # Returns `true` if the name has a list of these sizes. Then the start needs no further memory.
  # If the owner of that list has crashed, the new owner adopts it, unless `:clock` differs. If
  # that owner is alive, `Owner.start_link/3` returns an error.
  defp there_already?(name, max_keys, max_bans) do
    match?(%{max_keys: ^max_keys, max_bans: ^max_bans}, Native.ban_info(name))
  end

  defp own(name, owner, settings) do
    with :enomem <- Native.ban_start(name, owner, settings), do: {:error, :enomem}
  end

  @doc """
  Checks whether a key is banned.

  Returns:

    * `:ok` - the key is not banned
    * `{:banned, ms}` - its ban ends in `ms` milliseconds
    * `{:banned, :infinity}` - its ban has no end

  Raises `ArgumentError` if `ban` is not a running ban list, or the key is `nil` or above 1 KiB.

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
  Records a failure of a key.

  Returns:

    * `{:ok, left}` - `left` more failures within `:within` ms ban the key. If a concurrent
      `unban/2` lifted the ban at the moment of this failure, `left` is all of `:failures`
    * `{:banned, ms}` - the key is banned for `ms` more milliseconds, by this failure or an
      earlier ban
    * `{:banned, :infinity}` - the key is banned without end

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
  def record_failure(ban, key) do
    with {:banned, ms, level} <- ask(ban, key, &Native.ban_record(ban, key, &1)) do
      BanEvent.by_failures(ban, key, ms, level)
      {:banned, ms}
    end
  end

  @doc """
  Bans a key for `ms` milliseconds from now, whether the key failed or not. Replaces the end and
  the reason of a ban in force.

  `ms` is 1 to 2_147_483_647, or `:infinity` for a ban without end. `reason` is for `list/1`:
  any term of at most 256 bytes in the external term format, by default `:manual`. The level and
  the counted failures of the key do not change.

  Returns `:ok`. Raises as `check/2`, and if `ms` is out of bounds or the reason is too large.

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
    %{reason_bytes: most} = Native.bounds()

    unless Weight.fits?(reason, most) do
      Options.expected!("reason", "of at most #{most} bytes in the external term format", reason)
    end

    # Encodes the reason in Elixir, so that the native side only copies at most `most` bytes.
    external = :erlang.term_to_binary(reason)
    with :ok <- ask(ban, key, &Native.ban_put(ban, key, ms, external, &1)), do: BanEvent.by_call(ban, key, ms, reason)
  end

  @doc """
  Forgets the ban, the failures and the level of a key.

  Returns `:ok`, also for an unknown key. Raises as `check/2`.

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
  Lists the banned keys.

  Returns a list of maps, the longest bans first:

    * `:key` - the key; or `{:hash, number}` if it was too large to be stored. Other functions
      take the key itself, never its hash
    * `:until_ms` - ms until the ban ends, or `:infinity`
    * `:reason` - `:failures`, or the reason given to `ban/4`
    * `:level` - how often the key was banned for its failures, as far as that is remembered; see
      "What counts"

  Raises `ArgumentError` if `ban` is not a running ban list.

  ## Examples

      iex> {:ok, _} = Penstock.Ban.start_link(name: MyApp.Listing, failures: 1, clock: :manual)
      iex> Penstock.Ban.record_failure(MyApp.Listing, {:user, 7})
      iex> Penstock.Ban.list(MyApp.Listing)
      [%{key: {:user, 7}, until_ms: 300_000, reason: :failures, level: 1}]

  """
  @spec list(ban) :: [%{key: term, until_ms: pos_integer | :infinity, reason: term, level: non_neg_integer}]
  def list(ban) do
    with :no_ban <- BanReport.all(ban), do: no_ban!(ban)
  end

  @doc """
  Returns the options and the totals of a ban list.

  The result is a map:

    * `:name`
    * `:failures`, `:within`, `:ban_for`, `:escalate`, `:max_ban`, `:forget_after`, `:max_keys`,
      `:max_bans` - as in `start_link/1`
    * `:bans` - the number of banned keys
    * `:dropped` - the number of bans that were dropped before their end, because there was no
      room
    * `:memory` - reserved bytes

  Raises `ArgumentError` if `ban` is not a running ban list.

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
      :no_ban -> no_ban!(ban)
      info -> Map.merge(info, %{name: ban, bans: count(ban, 0, 0)})
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
  Advances the clock of a ban list with `clock: :manual`.

  `ms` is 0 to 2_147_483_647; the clock stops after about 180 years.

  Returns `:ok`. Raises `ArgumentError` if `ban` is not a running ban list or has another clock,
  or if `ms` is out of bounds.

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
