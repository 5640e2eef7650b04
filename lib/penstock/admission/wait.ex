defmodule Penstock.Admission.Wait do
  # Parks the caller in a wait queue until the pool grants permits or refuses, or the timeout is
  # over. The caller waits in a `receive` for the answer, which the native side sends. No process
  # is in between.
  #
  # This module makes the reference of the answer, and each clause of a `receive` matches that
  # reference. So the VM skips all messages that are older than the reference.
  #
  # After a timeout the caller cancels its wait. Either no answer comes any more, or the answer is
  # on its way and the caller receives it. So no answer is ever left in the mailbox.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Telemetry.WaitEvent

  @type answer ::
          {:ok, Native.instance()} | {:error, :full | :queue_full | :closed | :deadlock | :timeout} | Native.bad()

  # Waits for permits of a pool for up to `timeout` ms, if they are not free at once. Returns the
  # instance of the pool whose permits the caller now holds.
  @spec park(Native.gate(), :manual | :bound, pos_integer, timeout) :: answer
  def park(gate, kind, permits, timeout) do
    with {:waited, began, answer} <- wait(gate, kind, permits, timeout),
         do: WaitEvent.ended(answer, gate, :pool, began)
  end

  # Waits as `park/4`, but emits no event. Returns `{:waited, began, answer}` if the caller was parked.
  @spec wait(Native.gate(), :manual | :bound, pos_integer, timeout) :: answer | {:waited, WaitEvent.began(), answer}
  def wait(gate, kind, permits, timeout) do
    reference = make_ref()

    case Native.pool_park(gate, kind, permits, reference) do
      {instance, token} ->
        began = WaitEvent.began()
        {:waited, began, await_permits(gate, instance, token, reference, timeout)}

      reason when reason in [:full, :queue_full, :closed, :deadlock] ->
        {:error, reason}

      bad when bad in [:no_pool, :badarg] ->
        bad

      instance ->
        {:ok, instance}
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

  # Drains a pool, and waits for up to `timeout` ms until no permit is held. `{:undrained, n}`:
  # the pool was reopened or closed while `n` permits were held. `{:timeout, instance}`: permits
  # of that instance are still held.
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
