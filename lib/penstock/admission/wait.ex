defmodule Penstock.Admission.Wait do
  # Waits in a `receive` of the caller, without a process in between. The module that receives the
  # reference also makes it, and every clause matches it, so the VM skips all older messages of
  # the mailbox.
  #
  # A timeout asks the native side: either no answer will come, or an answer is on its way and is
  # received here. No message is ever left in the mailbox.
  @moduledoc false

  alias Penstock.Native

  @spec park(Native.gate(), :free | :bound, pos_integer, timeout) ::
          {:ok, Native.instance()}
          | {:error, :full | :queue_full | :closed | :deadlock | :timeout}
          | Native.bad()
  def park(gate, kind, permits, timeout) do
    reference = make_ref()

    case Native.pool_park(gate, kind, permits, reference) do
      {instance, token} -> await_permits(gate, instance, token, reference, timeout)
      reason when reason in [:full, :queue_full, :closed, :deadlock] -> {:error, reason}
      bad when bad in [:no_pool, :badarg] -> bad
      instance -> {:ok, instance}
    end
  end

  defp await_permits(gate, instance, token, reference, timeout) do
    receive do
      {^reference, :granted} -> {:ok, instance}
      {^reference, reason} -> {:error, reason}
    after
      timeout ->
        case Native.pool_cancel(gate, instance, token) do
          :cancelled -> {:error, :timeout}
          :too_late -> await_permits(gate, instance, token, reference, :infinity)
        end
    end
  end

  @spec drain(Native.gate(), timeout) :: :ok | {:undrained, pos_integer} | {:timeout, Native.instance()} | Native.bad()
  def drain(gate, timeout) do
    reference = make_ref()

    case Native.pool_drain(gate, reference) do
      {instance, token} -> await_drained(gate, instance, token, reference, timeout)
      done_or_bad -> done_or_bad
    end
  end

  defp await_drained(gate, instance, token, reference, timeout) do
    receive do
      {^reference, :drained} -> :ok
      {^reference, {:undrained, _} = undrained} -> undrained
    after
      timeout ->
        case Native.pool_cancel(gate, instance, token) do
          :cancelled -> {:timeout, instance}
          :too_late -> await_drained(gate, instance, token, reference, :infinity)
        end
    end
  end
end
