defmodule Penstock.Admission.Keyed do
  # Limiters and bans as gates. They admit by the key, and what they admit holds nothing of theirs; so it takes its permit from a pool
  # that counts and does not refuse, and all that is to be seen of a process behind a gate is the same.
  @moduledoc false

  alias Penstock.{Native, Options, Pool}
  alias Penstock.Admission.{KeySize, Resolver}

  @typedoc "By what key, if by any, and for what cost."
  @type hit :: {:none | {:key, term}, pos_integer}

  @type refusal :: {:rate_limited, pos_integer | :infinity} | {:banned, pos_integer | :infinity}

  @no_key {:none, 1}

  @doc false
  # What nobody has said anything of.
  @spec no_key() :: hit
  def no_key, do: @no_key

  @doc false
  # The options that say it.
  @spec options() :: [atom, ...]
  def options, do: [:key, :cost]

  @doc false
  @spec hit!(keyword) :: hit
  def hit!([]), do: @no_key

  def hit!(opts) do
    cost = Options.permits!(Keyword.get(opts, :cost, 1), ":cost")

    case Keyword.fetch(opts, :key) do
      :error -> {:none, cost}
      {:ok, nil} -> KeySize.nil_key!(":key")
      {:ok, key} -> {{:key, key}, cost}
    end
  end

  @doc false
  @spec running?(term) :: boolean
  def running?(gate), do: Native.rate_info(gate) != :no_limiter or Native.ban_info(gate) != :no_ban

  @doc false
  # Of a gate that is no pool. Raises if it is nothing else.
  @spec admit(term, hit) :: :ok | {:error, refusal}
  def admit(gate, hit) do
    case ask(gate, hit) do
      :no_key -> Options.expected!("the option :key", "given, as the gate is a ban", gate)
      :gone -> Resolver.bad!(:no_pool, gate)
      answer -> answer
    end
  end

  @doc false
  # `:no_key`: there is none, and a ban goes by one.
  @spec ask(term, hit) :: :ok | {:error, refusal} | :no_key | :gone
  def ask(gate, {key, cost}) do
    term = term(key)

    case KeySize.ask(term, &Native.rate_hit(gate, term, cost, &1)) do
      {:allow, _remaining} -> :ok
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      :no_limiter -> check(gate, key)
    end
  end

  @doc false
  # For who waits for its turn, for up to so many ms: it comes after so many. `:no_place`: to be asked again after so many.
  @spec reserve(term, hit, timeout) ::
          non_neg_integer | {:no_place, pos_integer} | {:error, refusal} | :no_key | :gone
  def reserve(gate, {key, cost}, timeout) do
    term = term(key)

    case KeySize.ask(term, &Native.rate_reserve(gate, term, cost, timeout, &1)) do
      {:deny, ms} -> {:error, {:rate_limited, ms}}
      :no_limiter -> with :ok <- check(gate, key), do: 0
      {:within, ns} -> div(ns + 999_999, 1_000_000)
      turn -> turn
    end
  end

  defp term(:none), do: :global
  defp term({:key, term}), do: term

  defp check(gate, :none), do: if(Native.ban_info(gate) == :no_ban, do: :gone, else: :no_key)

  defp check(gate, {:key, term}) do
    case KeySize.ask(term, &Native.ban_check(gate, term, &1)) do
      :ok -> :ok
      {:banned, _ms} = banned -> {:error, banned}
      :no_ban -> :gone
    end
  end

  @doc false
  # As the application starts.
  @spec make_pool() :: :ok
  def make_pool do
    # Kept over a restart of it: those it has admitted are there still.
    with nil <- :persistent_term.get(__MODULE__, nil), do: :persistent_term.put(__MODULE__, Pool.new(limit: :infinity))
    :ok
  end

  @doc false
  # What the native side knows the pool by that all who were admitted hold a permit of.
  @spec pool() :: Native.gate()
  def pool, do: :persistent_term.get(__MODULE__).ref
end
