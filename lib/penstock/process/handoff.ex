defmodule Penstock.Process.Handoff do
  # Permits on their way to a process that is about to be created.
  #
  #     creator:  admitted, offer -> create -> hand over
  #     created:                               adopt -> its function
  #
  # Either side settles the offer, whichever is first, and the death of the creator before that revokes it. So the
  # function never runs without its permits, and none stays with a creator that is gone.
  #
  # The first act of the process that was created is to adopt. `:revoked`: its creator was killed before it could know of
  # this process, which is to end as if it had not been created.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Admission.{Keyed, Resolver, Wait}

  @doc false
  # `ref` is what the native side knows the gate by; what is returned, what it knows the pool by that has made the offer.
  @spec make(Native.gate(), Resolver.t(), pos_integer, timeout, Keyed.hit()) ::
          {:ok, Native.gate(), Native.offer()} | {:error, term}
  def make(ref, gate, permits, timeout, hit) do
    answered(ask(ref, permits, timeout), ref, gate, permits, timeout, hit)
  end

  @doc false
  # The same, once the native side has answered.
  @spec answered(Native.offer() | term, Native.gate(), Resolver.t(), pos_integer, timeout, Keyed.hit()) ::
          {:ok, Native.gate(), Native.offer()} | {:error, term}
  def answered(answer, ref, gate, permits, timeout, hit) do
    case answer do
      offer when is_integer(offer) -> {:ok, ref, offer}
      {:error, _reason} = refused -> refused
      offer when is_tuple(offer) -> {:ok, ref, offer}
      reason when reason in [:full, :closed] -> {:error, reason}
      # Another process was found dead, or the pool was changed.
      :again -> make(ref, gate, permits, timeout, hit)
      :no_pool -> make_of_limit(gate, hit)
      bad -> Resolver.bad!(bad, gate)
    end
  end

  defp make_of_limit(gate, hit) do
    with :ok <- Keyed.admit(gate, hit) do
      pool = Keyed.pool()
      {:ok, pool, Native.spawn_take(pool, 1)}
    end
  end

  defp ask(ref, permits, 0) do
    with :again <- Native.spawn_try(ref, permits), do: ask(ref, permits, 0)
  end

  defp ask(ref, permits, timeout) do
    with :busy <- Native.spawn_take(ref, permits),
         {:ok, instance} <- Wait.park(ref, :bound, permits, timeout) do
      Native.spawn_offer(ref, instance, permits)
    end
  end
end
