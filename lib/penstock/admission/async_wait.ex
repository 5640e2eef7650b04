defmodule Penstock.Admission.AsyncWait do
  # Asks for permits without blocking the caller, which gets the answer as a message.
  #
  # The caller gets exactly one message for each request that it does not cancel. If the native
  # side answers at once, the caller sends the message to itself. Otherwise the native side sends
  # the message later. `cancel/2` leaves no message of the request in the mailbox, and releases
  # the permits of a message that it finds there.
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
  # receives the message and releases the permits. If the caller received the message earlier, the
  # caller keeps the permits.
  @spec cancel(Native.gate(), term) :: :ok | Native.bad()
  def cancel(gate, ref) do
    case Native.pool_recall(gate, ref) do
      {:told, instance, permits} ->
        take_back(gate, instance, permits, ref, 0)

      # The native side sends the message first, and records the sending a moment later. Between
      # the two it answers `:coming`. The message may then be on its way, in the mailbox, or
      # received already. If no message comes within 1 ms, the caller asks the native side again.
      {:coming, instance, permits} ->
        with :none <- take_back(gate, instance, permits, ref, 1), do: cancel(gate, ref)

      ok_or_bad ->
        ok_or_bad
    end
  end

  # Receives the message, if it comes within `timeout` ms, and releases its permits. With a
  # timeout of 0 the message has been sent. If it is not in the mailbox, the caller has received
  # it before.
  defp take_back(gate, instance, permits, ref, timeout) do
    receive do
      {^ref, :ok} ->
        # `permits` is 0 if that pool was closed and is gone, or was opened again since. The
        # caller then holds none of its permits.
        if permits > 0, do: Native.pool_release(gate, instance, permits)
        :ok

      {^ref, {:error, _reason}} ->
        :ok
    after
      timeout -> if timeout == 0, do: :ok, else: :none
    end
  end
end
