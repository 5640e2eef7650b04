defmodule Penstock.Test.Ownership.Settings do
  # Makes the start options of an own gate: those of the application's gate, and those of the test
  # in their place.
  #
  # An option whose default follows another one is not copied if it has that default. So `limit:
  # 1` also makes a burst of 1, unless the application set the burst.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.{Ban, Gate, KeyedPool, Native, Options, Pool, RateLimiter}

  # The kinds as `Penstock.list/0` names them.
  @modules %{pool: Pool, keyed_pool: KeyedPool, rate_limiter: RateLimiter, ban: Ban, gate: Gate}

  @kinds Map.keys(@modules)

  # The most places for keys that are copied. The memory of a table is reserved at its start, and
  # many tests run at the same time.
  @most_places 1_000

  # The pressures in the order of their numbers on the native side.
  @pressures [:elevated, :high, :critical]

  # The ms of a day: the default of a ban's `:max_ban`, unless its first ban is longer.
  @day 86_400_000

  # Returns the kind, the module and the start options, without the name.
  @spec read!(atom, term) :: {atom, module, keyword}
  def read!(name, opts) do
    unless Keyword.keyword?(opts), do: Options.expected!("opts", "a keyword list", opts)
    {given, opts} = Keyword.pop(opts, :kind)
    running = running(name)
    kind = kind!(name, given, running)
    # The gate may have ended since its kind was read, and then has no options to copy.
    copied = if running == kind, do: copy(kind, name, opts), else: []
    {kind, @modules[kind], Keyword.merge(copied, opts)}
  end

  defp running(name) do
    with :limiter <- Resolver.kind(name), do: :rate_limiter
  end

  defp kind!(name, nil, nil) do
    raise ArgumentError,
          "no gate named #{inspect(name)} is running, whose kind and options the test's own gate could have. " <>
            "Start it, or give them: Penstock.Test.own(#{inspect(name)}, kind: :pool, limit: 1)"
  end

  defp kind!(_name, nil, running), do: running
  defp kind!(_name, given, _running), do: Options.one_of!(given, ":kind", @kinds)

  defp copy(:pool, name, _opts) do
    case Native.pool_info(name) do
      %{limit: limit, max_waiting: max_waiting, held_longer_than: ms} ->
        [limit: limit, max_waiting: max_waiting] ++ if(ms > 0, do: [held_longer_than: ms], else: [])

      :no_pool ->
        []
    end
  end

  defp copy(:keyed_pool, name, _opts) do
    with %{} = info <- Native.keyed_info(name),
         do: [max_keys: places(info.max_keys)] ++ take(info, [:limit, :max_waiting]),
         else: (_ -> [])
  end

  defp copy(:rate_limiter, name, opts) do
    case Native.rate_info(name) do
      %{limit: limit, burst: burst} = info ->
        follows = burst == limit and Keyword.has_key?(opts, :limit)
        [max_keys: places(info.max_keys)] ++ take(info, [:limit, :per]) ++ if(follows, do: [], else: [burst: burst])

      :no_limiter ->
        []
    end
  end

  defp copy(:ban, name, opts) do
    case Native.ban_info(name) do
      %{ban_for: ban_for, max_ban: max_ban, forget_after: forget_after} = info ->
        max_ban_follows = max_ban == default_max_ban(ban_for) and Keyword.has_key?(opts, :ban_for)
        follows = Keyword.has_key?(opts, :max_ban) or max_ban_follows
        max_ban_kept = if max_ban_follows, do: [], else: [max_ban: max_ban]
        forget_kept = if follows and forget_after == max_ban, do: [], else: [forget_after: forget_after]
        places = [max_keys: places(info.max_keys), max_bans: places(info.max_bans)]
        places ++ take(info, [:failures, :within, :ban_for, :escalate]) ++ max_ban_kept ++ forget_kept

      :no_ban ->
        []
    end
  end

  defp copy(:gate, name, _opts) do
    case Native.gate_info(name) do
      {limits, 0, _counts} -> [limits: limits]
      {limits, shed_at, _counts} -> [limits: limits, shed_at: Enum.at(@pressures, shed_at - 1)]
      :no_pool -> []
    end
  end

  defp default_max_ban(ban_for), do: if(is_integer(ban_for), do: max(ban_for, @day), else: @day)

  defp places(number), do: min(number, @most_places)

  defp take(info, names), do: for({name, value} <- Map.take(info, names), value != nil, do: {name, value})
end
