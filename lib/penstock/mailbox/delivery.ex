defmodule Penstock.Mailbox.Delivery do
  # Sends messages to servers that have a mailbox, and waits for room. Taking room and sending is
  # one native call. A sender that waits leaves its message on the native side, which sends it as
  # soon as there is room. So no sender ever holds room.
  #
  # The reference of the wait is that of a monitor of the server. So the death of the server ends
  # the wait, and each clause of a `receive` matches one new reference.
  @moduledoc false

  alias Penstock.Mailbox.Address
  alias Penstock.Native

  @type refused :: {:error, :full | :timeout | :closed}

  # Sends a message with a tag, as `Native.mailbox_send/3`. Waits for up to `timeout` ms if there is no
  # room.
  @spec send(pid, term, :"$gen_cast" | :info, timeout, GenServer.server()) :: :ok | :noproc | refused
  def send(pid, message, tag, timeout, server) do
    # A server that waits for itself would take no message up.
    case if(timeout == 0 or pid == self(), do: Native.mailbox_send(pid, message, tag), else: ask(pid, message, tag)) do
      :full -> {:error, :full}
      :busy -> wait(pid, counted(message, tag), timeout)
      :no_mailbox -> ready(pid, server, fn -> send(pid, message, tag, timeout, server) end)
      done -> done
    end
  end

  defp ask(pid, message, tag), do: Native.mailbox_ask(pid, counted(message, tag), :cast)

  defp counted(message, :info), do: {:penstock_mailbox, message}
  defp counted(message, tag), do: {tag, {:penstock_mailbox, message}}

  defp wait(pid, message, timeout) do
    ref = Process.monitor(pid)
    demonitored(ref, park(pid, message, ref, timeout))
  end

  # Calls a server: waits for room, and then for the reply. `failed` ends the caller with a reason.
  @spec call(pid, term, {timeout, timeout}, GenServer.server(), (term -> no_return)) :: {:ok, term} | refused
  def call(pid, request, {timeout, _call_timeout} = timeouts, server, failed) do
    # The look saves a caller that does not wait the price of a monitor, if it is refused.
    case if(timeout == 0, do: Native.mailbox_room(pid), else: :ok) do
      :ok -> call_monitored(pid, request, timeouts, server, failed)
      :full -> {:error, :full}
      :noproc -> failed.(:noproc)
      :no_mailbox -> ready(pid, server, fn -> call(pid, request, timeouts, server, failed) end)
    end
  end

  defp call_monitored(pid, request, {timeout, call_timeout} = timeouts, server, failed) do
    ref = :erlang.monitor(:process, pid, alias: :reply_demonitor)
    message = {:"$gen_call", {self(), [:alias | ref]}, {:penstock_mailbox, request}}

    case request(pid, message, ref, timeout) do
      {:error, _reason} = refused ->
        demonitored(ref, refused)

      :no_mailbox ->
        demonitored(ref, :no_mailbox)
        Address.ready!(pid, server)
        call(pid, request, timeouts, server, failed)

      # If the server has died, the monitor tells of it.
      sent when sent in [:ok, :noproc] ->
        await_reply(ref, call_timeout, failed)
    end
  end

  defp request(pid, message, ref, timeout) do
    case Native.mailbox_ask(pid, message, if(timeout == 0, do: :call_now, else: :call)) do
      :busy -> park(pid, message, ref, timeout)
      :full -> {:error, :full}
      # Another sender is between two instructions of one native call.
      :again -> again(pid, message, ref, timeout)
      done -> done
    end
  end

  defp ready(pid, server, send) do
    Address.ready!(pid, server)
    send.()
  end

  defp again(pid, message, ref, timeout) do
    :erlang.yield()
    request(pid, message, ref, timeout)
  end

  defp await_reply(ref, timeout, failed) do
    receive do
      {[:alias | ^ref], reply} -> {:ok, reply}
      {:DOWN, ^ref, :process, _pid, reason} -> failed.(reason)
    after
      timeout ->
        demonitored(ref, :timeout)
        # The alias has ended with the monitor, so a reply is here by now, or never comes.
        receive do
          {[:alias | ^ref], reply} -> {:ok, reply}
        after
          0 -> failed.(:timeout)
        end
    end
  end

  defp park(pid, message, ref, timeout) do
    case Native.mailbox_park(pid, message, ref) do
      :sent -> :ok
      :full -> {:error, :full}
      dead when dead in [:noproc, :no_mailbox] -> :noproc
      token -> await_room(pid, token, ref, timeout)
    end
  end

  defp await_room(pid, token, ref, timeout) do
    receive do
      {^ref, :granted} -> :ok
      {:DOWN, ^ref, :process, _pid, _reason} -> {:error, :closed}
    after
      timeout ->
        case Native.mailbox_cancel(pid, token) do
          :cancelled -> {:error, :timeout}
          # The message is being sent, or the server has died: either answer is on its way.
          :too_late -> await_room(pid, token, ref, :infinity)
        end
    end
  end

  defp demonitored(ref, answer) do
    Process.demonitor(ref, [:flush])
    answer
  end
end
