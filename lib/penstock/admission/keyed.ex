defmodule Penstock.Admission.Keyed do
  # Asks gates that decide by a key: limiters, bans and keyed pools. Runs in the caller.
  #
  # What such a gate admits holds a *permit set*: a list with the permits of each limit. The set of
  # a limiter or a ban is empty. The native side takes a set wherever it takes the instance or the
  # offer of a pool, so the same code serves the handoff, `:max_runtime` and the death of work
  # behind any gate.
  @moduledoc false

  alias Penstock.Admission.{GateWait, KeySize, Request, Resolver}
  alias Penstock.{Native, Options}

  @type refusal :: {:rate_limited, pos_integer | :infinity} | {:banned, pos_integer | :infinity} | Native.gate_refusal()

  # Asks a gate that is not a pool, and waits for permits for up to the timeout of the request.
  # Raises if the gate is missing. For `:manual`, the caller must release the permits.
  @spec admit(:run | :spawn | :manual, term, Request.t()) ::
          :ok | {:ok, Native.set()} | {:error, refusal | :queue_full | :timeout | :deadlock}
  def admit(way, gate, request) do
    with :gone <- admit_or_gone(way, gate, request), do: Resolver.bad!(:no_pool, gate)
  end

  # Asks as `admit/3`, but returns `:gone` if the gate is missing.
  @spec admit_or_gone(:run | :spawn | :manual, term, Request.t()) ::
          :ok | {:ok, Native.set()} | {:error, refusal | :queue_full | :timeout | :deadlock} | :gone
  def admit_or_gone(way, gate, request) do
    case take(way, gate, request) do
      set when is_list(set) -> {:ok, set}
      :ok -> :ok
      :busy -> wait(way, gate, request)
      :again -> admit_or_gone(way, gate, request)
      {:no_key, name} -> no_key!(gate, name)
      bad when bad in [:no_pool, :badarg, :not_held] -> :gone
      refusal -> {:error, refusal}
    end
  end

  # Asks a gate that is not a pool, and does not wait.
  @spec take(:run | :spawn | :manual, term, Request.t()) :: term
  def take(way, gate, %{timeout: timeout} = request) do
    waits = if timeout == 0, do: :no_wait, else: :waits

    with_key(gate, request, fn key, measured ->
      Native.gate_take(gate, way, key, request.keys, request.permits, request.cost, measured, waits)
    end)
  end

  # Calls `ask` with the key of a request, and whether the key is measured.
  @spec with_key(term, Request.t(), (term, Native.measured() | :no_key -> answer)) :: answer when answer: term
  def with_key(_gate, %{key: :none, keys: keys}, ask) when keys == %{}, do: ask.(nil, :no_key)
  def with_key(_gate, %{key: {:key, key}, keys: keys}, ask) when keys == %{}, do: KeySize.ask(key, &ask.(key, &1))

  # The keys of single limits are measured. A name that is no limit of the gate raises.
  def with_key(gate, %{key: key, keys: keys}, ask) do
    with limits when limits != :gone <- limits(gate), [name | _] <- Map.keys(keys) -- limits do
      raise ArgumentError, "#{Options.show(name)} in :keys is no limit of the gate #{Options.show(gate)}"
    end

    case key do
      # The keys of single limits may be those of all limits, or not: the native side tells.
      :none -> ask.(nil, :no_key)
      {:key, key} -> ask_measured(key, ask)
    end
  end

  # Returns the names of the limits of a gate; `:gone` if it is not running, which the native side
  # answers too.
  defp limits(gate) do
    case is_atom(gate) and Native.gate_info(gate) do
      {limits, _shed_at, _counts} -> limits
      _one_limit -> if Resolver.kind(gate), do: [gate], else: :gone
    end
  end

  defp ask_measured(key, ask) do
    KeySize.check!(key)
    ask.(key, :measured)
  end

  defp wait(way, gate, request) do
    kind = if way == :manual, do: :manual, else: :bound

    case GateWait.wait(gate, kind, request, &finish(gate, &1, request)) do
      {:ok, _set} when way == :manual -> :ok
      {:ok, set} when way == :spawn -> {:ok, offered!(Native.set_offer(set))}
      answer -> answer
    end
  end

  # Takes the last step for a caller that holds permits of all `limits`. Returns `:ok` or the reason.
  #
  # If the gate has been started again meanwhile, with other limits, the caller may lack a permit of
  # one of them. So the native side compares the limits with those that it then asks.
  @spec finish(term, [GateWait.limit()], Request.t()) :: :ok | term
  def finish(gate, limits, request) do
    with_key(gate, request, fn key, measured ->
      Native.gate_finish(gate, limits, key, request.keys, request.permits, request.cost, measured)
    end)
    |> case do
      gone when gone in [:no_pool, :badarg] -> :closed
      answer -> answer
    end
  end

  # The caller holds the permits and has no other offer of them, since an offer is handed over, or
  # retracted, before the function that made it returns.
  defp offered!(offers) when is_list(offers), do: offers

  # Raises because a request for this gate has no key.
  @spec no_key!(term, term) :: no_return
  def no_key!(gate, name \\ nil)

  def no_key!(gate, name) when name in [nil, gate] do
    kind = if is_atom(gate), do: Resolver.kind_name(gate)
    raise ArgumentError, "the gate #{Options.show(gate)} is a #{kind || "ban"} and requires the option :key"
  end

  def no_key!(gate, name) do
    kind = Resolver.kind_name(name) || "ban"

    raise ArgumentError,
          "the gate #{Options.show(gate)} requires the option :key: its limit #{Options.show(name)} is a #{kind}"
  end

  # Reserves the caller's turn at a limiter, if the turn comes within `timeout` ms, and returns
  # the ms until the turn. `{:no_place, ms}`: the limiter's table has no place for the key, so the
  # caller must ask again after `ms`. A ban has no turns: it admits at once, with 0, or refuses.
  @spec reserve(term, Request.t(), timeout) ::
          non_neg_integer | {:no_place, pos_integer} | {:error, refusal} | :no_key | :gone
  def reserve(gate, %{cost: cost} = request, timeout) do
    term = term(request)

    case KeySize.ask(term, &Native.rate_reserve(gate, term, cost, timeout, &1)) do
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      :no_limiter -> with :ok <- check(gate, request), do: 0
      {:within, ns} -> div(ns + 999_999, 1_000_000)
      turn -> turn
    end
  end

  defp term(%{key: :none}), do: :global
  defp term(%{key: {:key, term}}), do: term

  defp check(gate, %{key: :none}), do: if(Resolver.kind(gate) == :ban, do: :no_key, else: :gone)

  defp check(gate, %{key: {:key, term}}) do
    case KeySize.ask(term, &Native.ban_check(gate, term, &1)) do
      :ok -> :ok
      {:banned, _ms} = banned -> {:error, banned}
      :no_ban -> :gone
    end
  end

  # Creates the unlimited pool, whose permits the tasks of a stream behind a limiter or a ban hold.
  # Called when the application starts. The pool outlives a restart of the application, because the
  # processes that hold its permits outlive it too.
  @spec make_unlimited_pool() :: :ok
  def make_unlimited_pool do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      settings = %{limit: :infinity, max_waiting: 0, max_overdraft: :limit, held_longer_than: 0}
      :persistent_term.put(__MODULE__, Native.pool_new(settings))
    end

    :ok
  end

  # Returns the native reference of the unlimited pool.
  @spec unlimited_pool() :: reference
  def unlimited_pool, do: :persistent_term.get(__MODULE__)
end
