defmodule Penstock.Offer do
  # Permits on their way to a process that is about to be created.
  #
  #     creator:  admitted, offer -> create -> hand over
  #     created:                               adopt -> its function
  #
  # Either side settles the offer, whichever is first, and the death of the creator before that revokes it. So the
  # function never runs without its permits, and none stays with a creator that is gone.
  @moduledoc false

  alias Penstock.{GateRef, Native, Wait}

  @type t :: {Native.gate(), Native.instance(), Native.token()}

  @doc false
  @spec make(GateRef.t(), pos_integer, timeout) :: {:ok, t} | {:error, term}
  def make(gate, permits, timeout) do
    ref = GateRef.ref!(gate)

    case ask(ref, permits, timeout) do
      {:error, _reason} = refused -> refused
      {instance, token} -> {:ok, {ref, instance, token}}
      bad -> GateRef.bad!(bad, gate)
    end
  end

  defp ask(ref, permits, 0) do
    case Native.spawn_try(ref, permits) do
      :again -> ask(ref, permits, 0)
      reason when reason in [:full, :closed] -> {:error, reason}
      offered_or_bad -> offered_or_bad
    end
  end

  defp ask(ref, permits, timeout) do
    with :busy <- Native.spawn_take(ref, permits),
         {:ok, instance} <- Wait.park(ref, :bound, permits, timeout) do
      {instance, Native.spawn_offer(ref, instance, permits)}
    end
  end

  @doc false
  # It has been created.
  @spec hand_over(t, pid) :: :ok | :badarg
  def hand_over({ref, instance, token}, pid), do: Native.spawn_hand_over(ref, instance, token, pid)

  @doc false
  # It could not be created.
  @spec retract(t) :: :ok | :badarg
  def retract({ref, instance, token}), do: Native.spawn_retract(ref, instance, token)

  @doc false
  # The first act of the process that was created. `:revoked`: its creator was killed before it could know of this
  # process, which is to end as if it had not been created.
  @spec adopt(t) :: :ok | :revoked | :badarg
  def adopt({ref, instance, token}), do: Native.spawn_adopt(ref, instance, token)
end
