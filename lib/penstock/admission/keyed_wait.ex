defmodule Penstock.Admission.KeyedWait do
  # Parks the caller until it is granted permits of a key, refused or timed out, as
  # `Penstock.Admission.Wait` does for a pool.
  @moduledoc false

  alias Penstock.Admission.KeySize
  alias Penstock.Native
  alias Penstock.Telemetry.WaitEvent

  @type answer ::
          {:ok, Native.lease()} | {:error, :key_full | :table_full | :queue_full | :closed | :timeout} | Native.bad()

  # Waits for permits of a key for up to `timeout` ms, if they are not free at once. Returns the
  # lease in which the caller now holds them.
  @spec park(term, term, :manual | :bound, pos_integer, timeout) :: answer
  def park(pool, key, kind, permits, timeout) do
    with {:waited, began, answer} <- wait(pool, key, kind, permits, timeout),
         do: WaitEvent.ended(answer, pool, :keyed_pool, began)
  end

  # Waits as `park/5`, but emits no event. Returns `{:waited, began, answer}` if the caller was parked.
  @spec wait(term, term, :manual | :bound, pos_integer, timeout) :: answer | {:waited, WaitEvent.began(), answer}
  def wait(pool, key, kind, permits, timeout) do
    reference = make_ref()

    case ask(pool, key, kind, permits, reference) do
      {:ok, lease} ->
        {:ok, lease}

      {:waiting, lease} ->
        began = WaitEvent.began()
        {:waited, began, await_permits(lease, reference, timeout)}

      reason when reason in [:key_full, :table_full, :queue_full, :closed] ->
        {:error, reason}

      bad ->
        bad
    end
  end

  # Asks for permits of a key, and parks the caller if they are not free. The answer to a parked
  # caller comes as a message with the reference.
  @spec ask(term, term, :manual | :bound, pos_integer, reference) :: {:ok | :waiting, Native.lease()} | atom
  def ask(pool, key, kind, permits, reference),
    do: KeySize.ask(key, &Native.keyed_park(pool, key, kind, permits, reference, &1))

  # Returns the reason for users. The native side answers `:full` to any waiter whose request
  # exceeds a smaller limit. `keyed` is nil for a waiter of a pool.
  @spec reason(atom, term) :: atom
  def reason(:full, keyed) when keyed != nil, do: :key_full
  def reason(reason, _keyed), do: reason

  defp await_permits({pool, id} = lease, reference, timeout) do
    receive do
      {^reference, :granted} -> {:ok, lease}
      {^reference, answer} -> {:error, reason(answer, pool)}
    after
      timeout ->
        case Native.keyed_cancel(pool, id) do
          :cancelled -> {:error, :timeout}
          :too_late -> await_permits(lease, reference, :infinity)
        end
    end
  end

  # Drains a keyed pool, and waits for up to `timeout` ms until no permit is held. `{:held, n}`:
  # `n` permits were held at the end of the wait, which may be 0 by now.
  @spec drain(term, timeout) :: :ok | {:held, non_neg_integer} | Native.bad()
  def drain(name, timeout) do
    reference = make_ref()

    case Native.keyed_drain(name, reference) do
      {pool, number} -> await_drained(pool, number, reference, timeout)
      done_or_bad -> done_or_bad
    end
  end

  defp await_drained(pool, number, reference, timeout) do
    receive do
      {^reference, :drained} -> :ok
      {^reference, {:undrained, in_use}} -> {:held, in_use}
    after
      timeout ->
        case Native.keyed_stop_draining(pool, number) do
          {:cancelled, in_use} -> {:held, in_use}
          :too_late -> await_drained(pool, number, reference, :infinity)
        end
    end
  end
end
