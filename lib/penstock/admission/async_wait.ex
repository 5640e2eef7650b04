defmodule Penstock.Admission.AsyncWait do
  # Asks for permits without blocking the caller, which gets the answer as a message.
  #
  # The caller gets exactly one message for each request. The native side sends it later, or the
  # caller sends it to itself if the native side answers at once. `cancel/2` leaves no message of
  # the request in the mailbox, and releases the permits of a message that it finds there.
  @moduledoc false

  alias Penstock.Native

  # Asks for permits. The message is `{reference, :ok}` or `{reference, {:error, reason}}`.
  @spec ask(Native.gate(), pos_integer, timeout) :: {:ok, reference} | Native.bad()
  def ask(gate, permits, timeout) do
    case Native.pool_ask(gate, permits, timeout) do
      {ref, :waiting} -> {:ok, ref}
      {ref, :ok} -> send_self(ref, :ok)
      {ref, reason} -> send_self(ref, {:error, reason})
      # A native call does a bounded part of the work, and answers `:again` if work is left.
      :again -> ask(gate, permits, timeout)
      bad -> bad
    end
  end

  defp send_self(ref, answer) do
    send(self(), {ref, answer})
    {:ok, ref}
  end

  # Withdraws a request. If permits were granted and the caller has not received the message yet,
  # receives it and releases the permits. Permits of a message received earlier stay held.
  @spec cancel(Native.gate(), term) :: :ok | Native.bad()
  def cancel(gate, ref) do
    case Native.pool_recall(gate, ref) do
      {:told, instance, permits} ->
        take_back(gate, instance, permits, ref, 0)

      # The native side sends the message first, and records that it did a moment later. In that
      # moment it answers `:coming`: the message may be in the mailbox, received already, or still
      # on its way. If no message comes within 1 ms, the caller asks the native side again.
      {:coming, instance, permits} ->
        with :none <- take_back(gate, instance, permits, ref, 1), do: cancel(gate, ref)

      ok_or_bad ->
        ok_or_bad
    end
  end

  # Receives the message, if it comes within `timeout` ms, and releases its permits. With a
  # timeout of 0, a message that is not in the mailbox has been received before.
  defp take_back(gate, instance, permits, ref, timeout) do
    receive do
      {^ref, :ok} ->
        # `permits` is 0 if that pool has closed since, so that the caller holds none of it.
        if permits > 0, do: Native.pool_release(gate, instance, permits)
        :ok

      {^ref, {:error, _reason}} ->
        :ok
    after
      timeout -> if timeout == 0, do: :ok, else: :none
    end
  end
end
