defmodule Penstock.Admission do
  # Permits that the calling process holds for a piece of work, and that only the end of that work gives back.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Admission.{Keyed, Resolver, Wait}

  @typedoc "Where the permits are: what the native side knows the pool by, which of that name's, and how many."
  @type permits :: {Native.gate(), Native.instance(), pos_integer}

  @doc false
  # `ref` is what the native side knows the gate by.
  @spec take(Native.gate(), Resolver.t(), pos_integer, timeout, Keyed.hit()) :: {:ok, permits} | {:error, term}
  def take(ref, gate, permits, timeout, hit) do
    case ask(ref, permits, timeout) do
      {:error, _reason} = refused -> refused
      {:ok, instance} -> {:ok, {ref, instance, permits}}
      reason when reason in [:full, :closed] -> {:error, reason}
      :no_pool -> take_of_limit(gate, hit)
      :badarg -> Resolver.bad!(:badarg, gate)
      instance -> {:ok, {ref, instance, permits}}
    end
  end

  defp take_of_limit(gate, hit) do
    with :ok <- Keyed.admit(gate, hit) do
      pool = Keyed.pool()
      {:ok, {pool, Native.run_take(pool, 1), 1}}
    end
  end

  defp ask(ref, permits, 0) do
    with :again <- Native.run_try(ref, permits), do: ask(ref, permits, 0)
  end

  defp ask(ref, permits, timeout) do
    with :busy <- Native.run_take(ref, permits), do: Wait.park(ref, :bound, permits, timeout)
  end
end
