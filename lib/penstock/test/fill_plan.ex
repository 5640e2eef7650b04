defmodule Penstock.Test.FillPlan do
  # How to make a gate refuse for a reason, and how to undo that.
  #
  # A pool is full for all others if one process holds all free permits, and waits at the head of
  # the queue for the rest: no other caller overtakes a waiter. The permits are back when that
  # process is dead. To undo anything else twice does no harm.
  @moduledoc false

  require Penstock.Test.Ownership.Seam, as: Seam

  alias Penstock.Admission.Resolver
  alias Penstock.{Ban, Gate, KeyedPool, Native, Options, Pool, RateLimiter}
  alias Penstock.Test.Patience

  @enforce_keys [:gate, :fill, :undo]
  defstruct [:gate, :fill, :undo]

  @typedoc """
  `fill` returns a function that gives back what the filler holds, for the filler to call. Any
  process can call `undo`.
  """
  @type t :: %__MODULE__{
          gate: Penstock.gate(),
          fill: Penstock.work(Penstock.work(term)),
          undo: Penstock.work(term)
        }

  @default_ms 60_000
  # How many waiters or keys a fill may need.
  @most 1_000_000

  # The reasons that a kind of gate has. The first one is the default. `:timeout` is what a caller
  # of a full gate gets that waits.
  @reasons %{
    pool: [:full, :queue_full, :timeout, :closed],
    keyed_pool: [:key_full, :table_full, :timeout, :closed],
    limiter: [:rate_limited],
    ban: [:banned]
  }

  # The kinds in the order in which a gate of several limits is filled by default.
  @kinds [:pool, :keyed_pool, :limiter, :ban]

  @spec of!(term, term) :: t
  def of!(gate, opts) do
    opts = Options.known!(opts, [:reason, :key])
    kind = Resolver.kind!(Seam.gate(gate))
    {reason, ms} = reason!(opts[:reason])
    limit!(gate, kind, reason) |> plan(reason, ms, opts) |> of_one_opening()
  end

  # The function may close the gate, and open another one by the same name. The fill has not filled the
  # new gate, so it undoes nothing there. Permits of the old gate end with the filler and its helpers,
  # which are linked to it.
  #
  # The undoing would change a gate that is opened after the look at its number. The function has
  # returned by then, so only another process can open one in these microseconds.
  defp of_one_opening(%{gate: gate, fill: fill, undo: undo} = plan) do
    filled = :atomics.new(1, signed: false)
    same? = fn -> opening(gate) == :atomics.get(filled, 1) end

    filler = fn ->
      :atomics.put(filled, 1, opening(gate))
      release = fill.()
      fn -> if same?.(), do: release.(), else: exit(:shutdown) end
    end

    %{plan | fill: filler, undo: fn -> if same?.(), do: undo.() end}
  end

  # A pool without a name is never opened again.
  defp opening(gate) do
    case Native.gate_meters(Seam.gate(gate)) do
      %{opening: opening} -> opening
      :no_gate -> 0
    end
  end

  defp reason!({reason, ms}) when reason in [:rate_limited, :banned] and is_integer(ms) and ms in 1..0x7FFF_FFFF do
    {reason, ms}
  end

  defp reason!({:banned, :infinity}), do: {:banned, :infinity}
  defp reason!(reason) when is_atom(reason), do: {reason, @default_ms}
  defp reason!(other), do: refused!("a reason of Penstock.Test.fill/3", other)

  @spec refused!(String.t(), term) :: no_return
  defp refused!(what, other), do: Options.expected!(":reason", what, other)

  # Returns the limit that is to refuse, with its kind: the gate itself, or one of a gate of several.
  defp limit!(gate, :gate, reason) do
    limits = for name <- Gate.info(gate).limits, kind = Resolver.kind(Seam.gate(name)), do: {name, kind}
    wanted = for kind <- @kinds, {_name, ^kind} = limit <- limits, reason in [nil | @reasons[kind]], do: limit
    List.first(wanted) || refused!(reasons(Enum.map(limits, &elem(&1, 1))), reason)
  end

  defp limit!(gate, kind, reason) do
    if reason in [nil | @reasons[kind]], do: {gate, kind}, else: refused!(reasons([kind]), reason)
  end

  # The pressure of the VM is that of all gates of the node.
  defp reasons(kinds) do
    kinds |> Enum.flat_map(&@reasons[&1]) |> Enum.uniq() |> Enum.map_join(" or ", &inspect/1)
  end

  defp plan({pool, :pool}, :queue_full, _ms, _opts) do
    limited!(pool)
    waiting = Pool.info(pool).max_waiting
    if waiting > @most, do: Options.expected!(":max_waiting of the pool", "at most #{@most} to be filled", waiting)
    held(pool, fn -> fill_queue(pool) end)
  end

  defp plan({pool, :pool}, :closed, _ms, _opts) do
    if Pool.info(pool).status == :open,
      do: %__MODULE__{
        gate: pool,
        fill: act(fn -> Pool.drain(pool, 0) end),
        undo: fn -> if_running(fn -> Pool.reopen(pool) end) end
      },
      else: nothing(pool)
  end

  defp plan({pool, :pool}, _full, _ms, _opts) do
    limited!(pool)
    held(pool, fn -> fill_pool(pool) end)
  end

  defp plan({pool, :keyed_pool}, :closed, _ms, _opts) do
    if KeyedPool.info(pool).status == :open,
      do: %__MODULE__{
        gate: pool,
        fill: act(fn -> KeyedPool.drain(pool, 0) end),
        undo: fn -> if_running(fn -> KeyedPool.reopen(pool) end) end
      },
      else: nothing(pool)
  end

  defp plan({pool, :keyed_pool}, :table_full, _ms, _opts), do: held(pool, fn -> fill_table(pool, make_ref(), 0) end)

  defp plan({pool, :keyed_pool}, _full, _ms, opts) do
    key = key!(opts, pool)
    held(pool, fn -> fill_key(pool, key) end)
  end

  defp plan({limiter, :limiter}, _reason, ms, opts) do
    key = Keyword.get(opts, :key, :global)
    burst = RateLimiter.info(limiter).burst
    charged = :atomics.new(1, signed: true)
    :atomics.put(charged, 1, -1)

    %__MODULE__{
      gate: limiter,
      fill:
        act(fn ->
          :atomics.put(charged, 1, spent(RateLimiter.peek(limiter, key), burst))
          RateLimiter.pause(limiter, key, ms)
        end),
      undo: fn -> if_running(fn -> restore(limiter, key, :atomics.exchange(charged, 1, -1)) end) end
    }
  end

  defp plan({ban, :ban}, _reason, ms, opts) do
    key = key!(opts, ban)
    undone = :atomics.new(1, signed: true)
    before = Ban.check(ban, key)

    %__MODULE__{
      gate: ban,
      fill: act(fn -> Ban.ban(ban, key, ms, :fill) end),
      undo: fn ->
        if :atomics.exchange(undone, 1, -1) >= 0, do: if_running(fn -> unban(ban, key, before) end)
      end
    }
  end

  defp limited!(pool) do
    if Pool.info(pool).limit == :infinity do
      Options.expected!("gate", "a pool with a limit", pool, "a pool without a limit is never full")
    end
  end

  # Makes a fill that holds nothing.
  defp act(work) do
    fn ->
      work.()
      fn -> :ok end
    end
  end

  defp unban(ban, key, :ok), do: Ban.unban(ban, key)
  defp unban(ban, key, {:banned, ms}), do: Ban.ban(ban, key, ms)

  # What the key has spent of its burst. A key that is denied has spent all.
  defp spent({:allow, left}, burst), do: burst - left - 1
  defp spent({:deny, _ms}, burst), do: burst

  # A pause has no end of its own, so the key is reset, and charged with what it had spent.
  defp restore(_limiter, _key, -1), do: :ok

  defp restore(limiter, key, spent) do
    RateLimiter.reset(limiter, key)
    if spent > 0, do: RateLimiter.charge(limiter, key, spent)
  end

  defp held(gate, fill) do
    %__MODULE__{gate: gate, fill: fill, undo: fn -> :ok end}
  end

  # The gate is closed already.
  defp nothing(gate), do: %__MODULE__{gate: gate, fill: act(fn -> :ok end), undo: fn -> :ok end}

  defp key!(opts, gate) do
    case Keyword.fetch(opts, :key) do
      {:ok, key} -> key
      :error -> Options.missing!(":key", "key: \"alice\", for #{inspect(gate)}")
    end
  end

  # Takes all that is free. If permits are released meanwhile, the wait for the rest gets them.
  defp fill_pool(pool) do
    held = take_free(pool, 0)
    %{limit: limit, max_waiting: max_waiting} = Pool.info(pool)
    rest = limit - held
    wait = if rest > 0 and max_waiting > 0, do: Pool.acquire_async(pool, permits: rest, timeout: :infinity)

    fn ->
      with {:ok, ref} <- wait, do: Pool.cancel(pool, ref)
      if held > 0, do: Pool.release(pool, held)
    end
  end

  defp take_free(pool, held) do
    case Pool.info(pool).available do
      0 -> held
      free -> take_free(pool, held, free)
    end
  end

  defp take_free(pool, held, free) do
    case Pool.try_acquire(pool, free) do
      :ok -> take_free(pool, held + free)
      {:error, :full} -> take_free(pool, held)
      {:error, :closed} -> closed!(pool)
    end
  end

  @spec closed!(Penstock.gate()) :: no_return
  defp closed!(gate), do: Options.expected!("gate", "open, since a closed one refuses with :closed alone", gate)

  # A second process waits, because a holder of all permits that asks for more gets `:deadlock`.
  defp fill_queue(pool) do
    release = fill_pool(pool)
    {waiter, :ok} = helper(fn -> park(pool, Pool.info(pool)) end)

    fn ->
      stop(waiter)
      release.()
    end
  end

  # Returns a function that ends the waits.
  defp park(pool, %{waiting: waiting, max_waiting: max_waiting}) do
    # Another caller may take a place meanwhile, and the queue is full as well.
    refs = for _ <- (waiting + 1)..max_waiting//1, {:ok, ref} <- [Pool.acquire_async(pool, timeout: :infinity)], do: ref
    {:ok, fn -> for ref <- refs, do: Pool.cancel(pool, ref) end}
  end

  # The second process waits for what other processes hold of the key. It is killed, since it does
  # not look for messages meanwhile.
  defp fill_key(pool, key) do
    held = take_free_of_key(pool, key, 0)
    rest = KeyedPool.info(pool).limit - held
    waiter = if rest > 0, do: spawn_link(fn -> wait_for_key(pool, key, rest) end)

    fn ->
      if waiter, do: kill(waiter)
      if held > 0, do: KeyedPool.release(pool, key, held)
      back = fn -> for %{pid: ^waiter} = row <- KeyedPool.holders(pool, key), do: row end
      Patience.until_empty(back, :infinity)
    end
  end

  defp wait_for_key(pool, key, rest) do
    _granted = KeyedPool.acquire(pool, key, permits: rest, timeout: :infinity)
    receive do: (:never -> :ok)
  end

  defp take_free_of_key(pool, key, held) do
    case KeyedPool.info(pool, key).available do
      0 -> held
      free -> take_free_of_key(pool, key, held, free)
    end
  end

  defp take_free_of_key(pool, key, held, free) do
    case KeyedPool.try_acquire(pool, key, free) do
      :ok -> take_free_of_key(pool, key, held + free)
      {:error, :key_full} -> take_free_of_key(pool, key, held)
      {:error, :closed} -> closed!(pool)
      {:error, :table_full} -> Options.expected!("gate", "with a place for the key #{inspect(key)}", pool)
    end
  end

  defp fill_table(pool, _ref, @most) do
    Options.expected!(":max_keys of the pool", "at most #{@most} to be filled", KeyedPool.info(pool).max_keys)
  end

  defp fill_table(pool, ref, count) do
    case KeyedPool.try_acquire(pool, {ref, count}) do
      :ok -> fill_table(pool, ref, count + 1)
      {:error, :closed} -> closed!(pool)
      {:error, :table_full} -> fn -> for n <- 0..(count - 1)//1, do: KeyedPool.release(pool, {ref, n}) end
    end
  end

  # Starts a process that does some work, and then what the work returned once it is stopped.
  defp helper(work) do
    parent = self()

    pid =
      spawn_link(fn ->
        {answer, undo} = work.()
        send(parent, {self(), answer})
        receive do: (:stop -> undo.())
      end)

    receive do: ({^pid, answer} -> {pid, answer})
  end

  defp stop(pid) do
    monitor = Process.monitor(pid)
    send(pid, :stop)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  defp kill(pid) do
    Process.unlink(pid)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  # The gate may have ended with its supervisor.
  defp if_running(undo) do
    undo.()
  rescue
    ArgumentError -> :ok
  end
end
