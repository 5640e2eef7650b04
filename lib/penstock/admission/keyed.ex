defmodule Penstock.Admission.Keyed do
  # Asks gates that decide by a key: limiters, bans and keyed pools. Runs in the caller.
  #
  # What such a gate admits holds a *permit set*: a list with the permits of each limit. The set of
  # a limiter or a ban is empty. The native side takes a set wherever it takes the instance or the
  # offer of a pool, so the same code serves the handoff, `:max_runtime` and the death of work
  # behind any gate.
  @moduledoc false

  alias Penstock.Admission.{KeyedWait, KeySize, Request, Resolver}
  alias Penstock.{Native, Options}

  @type refusal :: {:rate_limited, pos_integer | :infinity} | {:banned, pos_integer | :infinity} | Native.key_refusal()

  # Asks a gate that is not a pool, and waits for permits of a keyed pool for up to the timeout of
  # the request. Raises if the gate is missing.
  @spec admit(:run | :spawn, term, Request.t()) :: {:ok, Native.set()} | {:error, refusal | :queue_full | :timeout}
  def admit(way, gate, request) do
    case take(way, gate, request) do
      set when is_list(set) -> {:ok, set}
      :key_full when request.timeout != 0 -> wait(way, gate, request)
      :again -> admit(way, gate, request)
      :no_key -> no_key!(gate)
      bad when bad in [:no_pool, :badarg, :not_held] -> Resolver.bad!(:no_pool, gate)
      refusal -> {:error, refusal}
    end
  end

  # Asks a gate that is not a pool, and does not wait.
  @spec take(:run | :spawn, term, Request.t()) :: term
  def take(way, gate, %{key: :none, permits: permits, cost: cost}),
    do: Native.gate_take(gate, way, nil, permits, cost, :no_key)

  def take(way, gate, %{key: {:key, key}, permits: permits, cost: cost}),
    do: KeySize.ask(key, &Native.gate_take(gate, way, key, permits, cost, &1))

  # Waits for permits of a keyed pool.
  defp wait(way, gate, %{key: {:key, key}, permits: permits, timeout: timeout}) do
    case KeyedWait.park(gate, key, :bound, permits, timeout) do
      {:ok, {pool, lease}} -> held(way, [{pool, lease, permits}])
      {:error, _reason} = refused -> refused
      _bad -> Resolver.bad!(:no_pool, gate)
    end
  end

  defp held(:run, set), do: {:ok, set}

  defp held(:spawn, set) do
    case Native.set_offer(set) do
      offers when is_list(offers) -> {:ok, offers}
    end
  end

  # Raises because a request for this gate has no key.
  @spec no_key!(term) :: no_return
  def no_key!(gate) do
    kind = if is_atom(gate), do: Resolver.kind_name(gate)
    raise ArgumentError, "the gate #{Options.show(gate)} is a #{kind || "ban"} and requires the option :key"
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
