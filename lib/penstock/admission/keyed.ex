defmodule Penstock.Admission.Keyed do
  # Limiters and bans as gates. They admit by the key, and what they admit holds nothing of
  # theirs. It holds a permit of a pool without a limit instead, which counts and never refuses:
  # so a process behind any kind of gate looks the same.
  @moduledoc false

  alias Penstock.Admission.{KeySize, Request, Resolver}
  alias Penstock.{Native, Options}

  @type refusal :: {:rate_limited, pos_integer | :infinity} | {:banned, pos_integer | :infinity}

  # Admits by a gate that is no pool. Raises if it is neither a limiter nor a ban.
  @spec admit(term, Request.t()) :: :ok | {:error, refusal}
  def admit(gate, request) do
    case ask(gate, request) do
      :no_key -> raise ArgumentError, "the gate #{Options.show(gate)} is a ban and requires the option :key"
      :gone -> Resolver.bad!(:no_pool, gate)
      answer -> answer
    end
  end

  # `:no_key`: the gate is a ban, and the request has no key.
  defp ask(gate, %{cost: cost} = request) do
    term = term(request)

    case KeySize.ask(term, &Native.rate_hit(gate, term, cost, &1)) do
      {:allow, _remaining} -> :ok
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      :no_limiter -> check(gate, request)
    end
  end

  # Reserves a turn that comes within `timeout` ms. Returns the ms until then, or `{:no_place,
  # ms}`: the caller must ask again after `ms`.
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

  # Makes the pool without a limit, as the application starts. It outlives a restart of the
  # application, because what it has admitted does.
  @spec make_unlimited_pool() :: :ok
  def make_unlimited_pool do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      settings = %{limit: :infinity, max_waiting: 0, max_overdraft: :limit, held_longer_than: 0}
      :persistent_term.put(__MODULE__, Native.pool_new(settings))
    end

    :ok
  end

  # Returns what the native side knows that pool by.
  @spec unlimited_pool() :: reference
  def unlimited_pool, do: :persistent_term.get(__MODULE__)
end
