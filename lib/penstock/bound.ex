defmodule Penstock.Bound do
  # Permits that the calling process holds for a piece of work, and that only the end of that work gives back.
  @moduledoc false

  alias Penstock.{GateRef, Native, Wait}

  @doc false
  # `ref` is what the native side knows the gate by.
  @spec take(Native.gate(), GateRef.t(), pos_integer, timeout) :: {:ok, Native.instance()} | {:error, term}
  def take(ref, gate, permits, timeout) do
    case ask(ref, permits, timeout) do
      answer when is_tuple(answer) -> answer
      reason when reason in [:full, :closed] -> {:error, reason}
      bad when bad in [:no_pool, :badarg] -> GateRef.bad!(bad, gate)
      instance -> {:ok, instance}
    end
  end

  defp ask(ref, permits, 0) do
    with :again <- Native.run_try(ref, permits), do: ask(ref, permits, 0)
  end

  defp ask(ref, permits, timeout) do
    with :busy <- Native.run_take(ref, permits), do: Wait.park(ref, :bound, permits, timeout)
  end
end
