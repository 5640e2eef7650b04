defmodule Penstock.Admission.Keyed do
  # Asks limiters and bans for the functions that take a gate. Runs in the caller.
  #
  # A limiter or a ban decides by a key and has no permits. A process that it admits takes a
  # permit of the unlimited pool instead, which counts permits and never refuses. So a process
  # behind any kind of gate holds a permit of some pool, and the same code serves its handoff,
  # `:max_runtime` and death.
  @moduledoc false

  alias Penstock.Admission.{KeySize, Request, Resolver}
  alias Penstock.{Native, Options}

  @type refusal :: {:rate_limited, pos_integer | :infinity} | {:banned, pos_integer | :infinity}

  # Asks a gate that is not a pool. Raises if the gate is neither a limiter nor a ban.
  @spec admit(term, Request.t()) :: :ok | {:error, refusal}
  def admit(gate, request) do
    case ask(gate, request) do
      :no_key -> raise ArgumentError, "the gate #{Options.show(gate)} is a ban and requires the option :key"
      :gone -> Resolver.bad!(:no_pool, gate)
      answer -> answer
    end
  end

  # Returns `:no_key` if the gate is a ban and the request has no key. Returns `:gone` if the gate
  # is neither a limiter nor a ban.
  defp ask(gate, %{cost: cost} = request) do
    term = term(request)

    case KeySize.ask(term, &Native.rate_hit(gate, term, cost, &1)) do
      {:allow, _remaining} -> :ok
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      :no_limiter -> check(gate, request)
    end
  end

  # Reserves the caller's turn at a limiter, if the turn comes within `timeout` ms. Returns the ms
  # until the turn. `{:no_place, ms}`: the limiter's table has no place for the key, so the caller
  # must ask again after `ms`. A ban has no turns: the result is 0 at once, or a refusal.
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

  # Creates the unlimited pool, unless it exists. Called when the application starts. The pool
  # outlives the application, because the processes that hold its permits may outlive the
  # application too.
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
