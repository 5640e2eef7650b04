defmodule Penstock.Admission.AsyncWait do
  # Waits for permits by a message, for callers that must not block.
  #
  # The caller gets exactly one message for each request, whether the native side sends it or, for
  # an answer that is known at once, the caller itself. A cancelled request leaves no message in
  # the mailbox and holds nothing.
  @moduledoc false

  alias Penstock.Native

  # Asks for permits. The message is `{reference, :ok}` or `{reference, {:error, reason}}`.
  @spec ask(Native.gate(), pos_integer, timeout) :: {:ok, reference} | Native.bad()
  def ask(gate, permits, timeout) do
    case Native.pool_ask(gate, permits, timeout) do
      {ref, :waiting} -> {:ok, ref}
      {ref, :ok} -> send_self(ref, :ok)
      {ref, reason} -> send_self(ref, {:error, reason})
      # A native call does a bounded part of the work.
      :again -> ask(gate, permits, timeout)
      bad -> bad
    end
  end

  defp send_self(ref, answer) do
    send(self(), {ref, answer})
    {:ok, ref}
  end

  # Withdraws a request. The permits of a message that the caller has not received are free again.
  @spec cancel(Native.gate(), term) :: :ok | Native.bad()
  def cancel(gate, ref) do
    case Native.pool_recall(gate, ref) do
      {:told, instance, permits} ->
        take_back(gate, instance, permits, ref, 0)

      # The native side sends the message a moment before it records that. So the message may be
      # in the mailbox, received already, or still on its way: then the caller asks again.
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
        # 0 if the pool was closed and opened again.
        if permits > 0, do: Native.pool_release(gate, instance, permits)
        :ok

      {^ref, {:error, _reason}} ->
        :ok
    after
      timeout -> if timeout == 0, do: :ok, else: :none
    end
  end
end
