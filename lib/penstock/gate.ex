defmodule Penstock.Gate do
  @moduledoc """
  A gate of several limits, which admits only if all of them do, by one native call.

  Applications need several limits at once: this user, this address, this endpoint, this node. If
  they ask one after the other, they charge the first when the second refuses. A gate charges
  nothing and takes nothing if one of its limits refuses:

      children = [
        {Penstock.Ban, name: MyApp.Bans},
        {Penstock.RateLimiter, name: MyApp.Api, limit: 100, per: 60_000},
        {Penstock.KeyedPool, name: MyApp.PerUser, limit: 5},
        {Penstock.Pool, name: MyApp.Jobs, limit: 100},
        {Penstock.Gate, name: MyApp.Uploads, limits: [MyApp.Bans, MyApp.Api, MyApp.PerUser, MyApp.Jobs]}
      ]

      Penstock.run(MyApp.Uploads, fn -> store(upload) end, key: user.id)

  Every function that takes a gate takes a `Penstock.Gate`. What runs behind it holds the permits of
  all its pools and keyed pools until it is dead. Restarts take permits only.

  | function | what it does |
  |---|---|
  | `try_acquire/2`, `acquire/2`, `release/2` | acquire and release the permits of all limits for the caller |
  | `explain/2` | what each limit would answer now |
  | `info/1` | the limits and the totals of the gate |

  ## How it decides

  First the gate *looks* at everything, in this order: the pressure of the VM, bans, limiters, keyed
  pools, pools. The first that refuses gives the reason. Then it takes the permits, and then it
  charges the limiters. If another caller comes in between and one of these fails, the gate undoes
  what it has taken. Meanwhile another caller may be refused because of a permit that is taken only
  for that moment; no limit is ever exceeded.

  ## Keys

  `:key` is the key for all limits that decide by a key. `:keys` gives single limits a key of their
  own: `keys: %{MyApp.PerUser => user.id, MyApp.Api => ip}`. Without a key a limiter uses `:global`;
  keyed pools and bans raise.

  ## Waiting

  With a `:timeout`, the caller waits for keyed pools and pools, never for a ban or a limiter. It
  waits for one after the other: keyed pools first, then pools, in one order for all gates of the
  VM. So two gates over the same pools never wait for each other. The caller holds meanwhile what it
  has got. The limiters are charged when the last permit is granted. If one then refuses, all
  permits go back, to the next waiters.

  A caller that waits on a gate while it holds permits of the same limits can wait for itself, until
  the timeout. Use separate gates for parent and child work, or `timeout: 0`.
  """

  alias Penstock.Admission.{Keyed, KeySize, Request, Resolver}
  alias Penstock.{Native, Options}
  alias Penstock.Node.Owner
  alias Penstock.Test.Ownership.Seam

  require KeySize

  use Seam, gates: [:try_acquire, :acquire, :release, :explain, :info], shown: [:explain, :info]

  @typedoc "The name of a running gate."
  @type gate :: atom

  @typedoc "The pressure of the VM from which a gate refuses everything."
  @type pressure :: :elevated | :high | :critical

  @typedoc "An option of `start_link/1`."
  @type option :: {:name, atom} | {:limits, [atom, ...]} | {:shed_at, pressure}

  @typedoc "An option of `acquire/2`, `try_acquire/2` and `explain/2`."
  @type request_option ::
          {:key, term} | {:keys, %{atom => term}} | {:permits, pos_integer} | {:cost, pos_integer} | {:timeout, timeout}

  @example "{Penstock.Gate, name: MyApp.Uploads, limits: [MyApp.Api, MyApp.Jobs]}"
  @pressures [:elevated, :high, :critical]
  @most_limits 16
  # In the order in which the native side counts.
  @outcomes [:admitted, :overloaded, :banned, :rate_limited, :key_full, :table_full, :full] ++
              [:queue_full, :timeout, :closed, :deadlock]

  @doc """
  Returns the child spec of a gate, with the id `{Penstock.Gate, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.Gate.child_spec(name: MyApp.Uploads, limits: [MyApp.Jobs]).id
      {Penstock.Gate, MyApp.Uploads}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :worker)

  @doc """
  Starts the owner of a gate, and links it to the caller.

  Returns:

    * `{:ok, pid}` - `pid` is the owner
    * `{:error, {:already_started, pid}}` - the live process `pid` owns a gate of that name
    * `{:error, reason}` - the owner was killed as it started

  Raises `ArgumentError` on an option that is missing, unknown or of the wrong kind. `:limits` is
  wrong if a name in it is not that of a running pool, keyed pool, limiter or ban, or comes twice.

  ## Options

    * `:name` - an atom; required. It is not registered as the name of a process
    * `:limits` - the names of 1 to 16 pools, keyed pools, limiters and bans, each once; required.
      They must be running. Gates do not nest
    * `:shed_at` - `:elevated`, `:high` or `:critical`: the pressure of the VM from which the gate
      refuses everything with `:overloaded`; see `Penstock.VM`. Default: never

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.GatedJobs, limit: 1)
      iex> {:ok, _} = Penstock.Gate.start_link(name: MyApp.GatedUploads, limits: [MyApp.GatedJobs])
      iex> Penstock.run(MyApp.GatedUploads, fn -> :stored end)
      {:ok, :stored}

  """
  @spec start_link([option]) :: {:ok, pid} | {:error, {:already_started, pid} | term}
  def start_link(opts) do
    opts = Options.known!(opts, [:name, :limits, :shed_at])
    name = Options.name!(Options.fetch!(opts, :name, @example))
    limits = limits!(Seam.gates(Options.fetch!(opts, :limits, @example)), name)
    shed_at = shed_at!(Keyword.get(opts, :shed_at))

    Owner.start_link(name, :gate, fn owner ->
      with :enomem <- Native.gate_start(name, owner, limits, shed_at), do: {:error, :enomem}
    end)
  end

  defp limits!(limits, name) do
    unless is_list(limits) and List.improper?(limits) == false and length(limits) in 1..@most_limits do
      Options.expected!(":limits", "a list of 1 to #{@most_limits} names of limits", limits)
    end

    for limit <- limits, do: limit!(limit, name)
    twice = limits -- Enum.uniq(limits)
    if twice != [], do: raise(ArgumentError, "#{inspect(hd(twice))} comes twice in :limits")
    limits
  end

  defp limit!(name, name), do: raise(ArgumentError, "the gate #{inspect(name)} cannot be a limit of itself")

  defp limit!(limit, _name) when is_atom(limit) and limit not in [nil, true, false] do
    case Resolver.kind(limit) do
      nil -> Resolver.not_running!(:any, limit)
      :gate -> raise ArgumentError, "#{inspect(limit)} in :limits is a gate of several limits, and gates do not nest"
      _limit -> :ok
    end
  end

  defp limit!(limit, _name), do: Options.expected!("each of :limits", "the name of a limit", limit)

  defp shed_at!(nil), do: 0

  defp shed_at!(pressure),
    do: 1 + Enum.find_index(@pressures, &(&1 == Options.one_of!(pressure, ":shed_at", @pressures)))

  @doc """
  Acquires the permits of all pools and keyed pools of a gate for the calling process, if all its
  limits admit the caller at once.

  Returns `:ok` or `{:error, reason}`; see [Refusals](Penstock.html#module-refusals). The caller
  holds the permits until it releases them, by `release/2` or by the functions of each limit, or
  dies.

  Raises `ArgumentError` if `gate` is not a running gate, a limit lacks its key, or an option is
  unknown or of the wrong kind.

  ## Options

    * `:key`, `:keys` - see "Keys"
    * `:permits` - how many permits of each limit: 1 to 2_147_483_647. Default `1`
    * `:cost` - the cost at the limiters: 1 to 2_147_483_647. Default `1`

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.TryJobs, limit: 1)
      iex> {:ok, _} = Penstock.Gate.start_link(name: MyApp.TryGate, limits: [MyApp.TryJobs])
      iex> Penstock.Gate.try_acquire(MyApp.TryGate)
      :ok
      iex> Penstock.Gate.try_acquire(MyApp.TryGate)
      {:error, :full}

  """
  @spec try_acquire(gate, [request_option]) :: :ok | {:error, Penstock.reason()}
  def try_acquire(gate, opts \\ [])

  # The most common requests need one native call, without a look at their options.
  def try_acquire(gate, []) when is_atom(gate) do
    tried(Native.gate_take(gate, :manual, nil, %{}, 1, 1, :no_key, :no_wait), gate, [])
  end

  def try_acquire(gate, [key: key] = opts) when is_atom(gate) and KeySize.is_short(key) do
    tried(Native.gate_take(gate, :manual, key, %{}, 1, 1, :not_measured, :no_wait), gate, opts)
  end

  def try_acquire(gate, opts), do: acquire_by(gate, %{Request.gate!(opts, 0) | timeout: 0})

  defp tried(:ok, _gate, _opts), do: :ok

  defp tried(reason, _gate, _opts) when reason in [:overloaded, :key_full, :full, :table_full, :closed],
    do: {:error, reason}

  defp tried({reason, _ms} = refusal, _gate, _opts) when reason in [:banned, :rate_limited], do: {:error, refusal}
  # Nothing is taken. The long way asks again, or raises.
  defp tried(_other, gate, opts), do: acquire_by(gate, %{Request.gate!(opts, 0) | timeout: 0})

  @doc """
  Acquires as `try_acquire/2` does, and waits for permits that are not free.

  Returns `:ok` or `{:error, reason}`. Takes the options of `try_acquire/2`, and `:timeout`: how long
  to wait, in ms or `:infinity`. Default `5_000`. Raises as `try_acquire/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.WaitJobs, limit: 1)
      iex> {:ok, _} = Penstock.Gate.start_link(name: MyApp.WaitGate, limits: [MyApp.WaitJobs])
      iex> :ok = Penstock.Gate.acquire(MyApp.WaitGate)
      iex> Task.await(Task.async(fn -> Penstock.Gate.acquire(MyApp.WaitGate, timeout: 10) end))
      {:error, :timeout}

  """
  @spec acquire(gate, [request_option]) :: :ok | {:error, Penstock.reason()}
  def acquire(gate, opts \\ []), do: acquire_by(gate, Request.gate!(opts, 5_000))

  defp acquire_by(gate, request) do
    if Resolver.kind(gate) != :gate, do: Resolver.not_running!(:gate, gate)
    Keyed.admit(:manual, gate, request)
  end

  @doc """
  Releases the permits of all pools and keyed pools of a gate that the calling process got by
  `acquire/2` or `try_acquire/2`.

  Takes the options `:key`, `:keys` and `:permits` of `try_acquire/2`. Returns:

    * `:ok` - the permits are free, or have passed to waiters
    * `{:error, :not_held}` - the caller holds fewer of them at one of the limits; nothing is released

  Raises as `try_acquire/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.FreeJobs, limit: 1)
      iex> {:ok, _} = Penstock.Gate.start_link(name: MyApp.FreeGate, limits: [MyApp.FreeJobs])
      iex> :ok = Penstock.Gate.acquire(MyApp.FreeGate)
      iex> Penstock.Gate.release(MyApp.FreeGate)
      :ok
      iex> Penstock.Gate.release(MyApp.FreeGate)
      {:error, :not_held}

  """
  @spec release(gate, [request_option]) :: :ok | {:error, :not_held}
  def release(gate, opts \\ [])

  # As in `try_acquire/2`.
  def release(gate, []) when is_atom(gate), do: released(Native.gate_release(gate, nil, %{}, 1, :no_key), gate, [])

  def release(gate, [key: key] = opts) when is_atom(gate) and KeySize.is_short(key) do
    released(Native.gate_release(gate, key, %{}, 1, :not_measured), gate, opts)
  end

  def release(gate, opts), do: release_by(gate, opts)

  defp released(:ok, _gate, _opts), do: :ok
  defp released(:not_held, _gate, _opts), do: {:error, :not_held}
  defp released(_other, gate, opts), do: release_by(gate, opts)

  defp release_by(gate, opts) do
    request = Request.gate!(opts, 0)

    answer =
      Keyed.with_key(gate, request, fn key, measured ->
        Native.gate_release(gate, key, request.keys, request.permits, measured)
      end)

    case answer do
      :ok -> :ok
      :not_held -> {:error, :not_held}
      {:no_key, name} -> Keyed.no_key!(gate, name)
      _no_pool -> Resolver.not_running!(:gate, gate)
    end
  end

  @doc """
  Returns what each limit of a gate would answer now, in the order of asking. Consumes nothing.

  Takes the options of `try_acquire/2`. Returns a list of `%{limit: name, kind: kind, answer: answer}`.
  The answer is `:ok` or `{:error, reason}`. `kind` is `:vm`, `:ban`, `:limiter`, `:keyed_pool` or
  `:pool`; `nil` for a limit that is not running any more. `Penstock.list/0` and metrics call a
  limiter `:rate_limiter`. The VM is in the list if the gate has a `:shed_at`, with the name `:vm`.

  Raises as `try_acquire/2`.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.ToldJobs, limit: 1)
      iex> {:ok, _} = Penstock.Gate.start_link(name: MyApp.ToldGate, limits: [MyApp.ToldJobs])
      iex> Penstock.Gate.explain(MyApp.ToldGate)
      [%{limit: MyApp.ToldJobs, kind: :pool, answer: :ok}]
      iex> Penstock.Gate.explain(MyApp.ToldGate, permits: 2)
      [%{limit: MyApp.ToldJobs, kind: :pool, answer: {:error, :full}}]

  """
  @spec explain(gate, [request_option]) :: [%{limit: atom, kind: atom, answer: :ok | {:error, Penstock.reason()}}]
  def explain(gate, opts \\ []) do
    request = Request.gate!(opts, 0)
    if Resolver.kind(gate) != :gate, do: Resolver.not_running!(:gate, gate)

    answers =
      Keyed.with_key(gate, request, fn key, measured ->
        Native.gate_explain(gate, key, request.keys, request.permits, request.cost, measured)
      end)

    case answers do
      {:no_key, name} ->
        Keyed.no_key!(gate, name)

      answers when is_list(answers) ->
        for {limit, kind, answer} <- answers do
          %{limit: limit, kind: if(kind != :none, do: kind), answer: if(answer == :ok, do: :ok, else: {:error, answer})}
        end

      _no_pool ->
        Resolver.not_running!(:gate, gate)
    end
  end

  @doc """
  Returns the limits and the totals of a gate.

  The result is a map:

    * `:name`, `:owner`
    * `:status` - `:open`
    * `:limits` - the names, as given
    * `:shed_at` - the pressure from which the gate refuses, or `nil`
    * `:admitted` - requests admitted
    * `:rejected` - a map of reasons to the number of requests that got them. A reason is without its
      number: `:rate_limited` stands for `{:rate_limited, ms}`

  The totals cover the time since the gate was started. Raises `ArgumentError` if `gate` is not a
  running gate.

  ## Examples

      iex> {:ok, _} = Penstock.Pool.start_link(name: MyApp.CountedJobs, limit: 1)
      iex> {:ok, _} = Penstock.Gate.start_link(name: MyApp.CountedGate, limits: [MyApp.CountedJobs])
      iex> for _ <- 1..3, do: Penstock.Gate.try_acquire(MyApp.CountedGate)
      iex> %{admitted: 1, rejected: %{full: 2}} = Penstock.Gate.info(MyApp.CountedGate)
      iex> Penstock.Gate.info(MyApp.CountedGate).limits
      [MyApp.CountedJobs]

  """
  @spec info(gate) :: %{
          name: atom,
          status: :open,
          owner: pid | nil,
          limits: [atom, ...],
          shed_at: pressure | nil,
          admitted: non_neg_integer,
          rejected: %{atom => pos_integer}
        }
  def info(gate) do
    case Native.gate_info(gate) do
      {limits, shed_at, counts} ->
        [{:admitted, admitted} | rejected] = Enum.zip(@outcomes, counts)

        %{
          name: gate,
          status: :open,
          owner: Native.gate_owner(gate),
          limits: limits,
          shed_at: if(shed_at > 0, do: Enum.at(@pressures, shed_at - 1)),
          admitted: admitted,
          rejected: for({reason, n} <- rejected, n > 0, into: %{}, do: {reason, n})
        }

      :no_pool ->
        Resolver.not_running!(:gate, gate)
    end
  end
end
