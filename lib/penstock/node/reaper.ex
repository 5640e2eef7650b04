defmodule Penstock.Node.Reaper do
  # Kills processes that run longer than their `:max_runtime`, and ends waits by messages whose
  # `:timeout` is over.
  #
  # The reaper keeps no state. The native side knows which processes are due, holds no timer and
  # forgets dead processes. It reports a process that is due and alive to the next reaper again.
  # So a reaper that is killed loses nothing. While there are neither deadlines nor such waits, it
  # sleeps.
  @moduledoc false
  use GenServer

  alias Penstock.Native

  # ms between two looks. With the delays of a busy VM, a process is killed at most 100 ms late.
  @interval 20

  # The least ms that other processes may run in between.
  @pause 5

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  ## Callbacks

  @impl true
  def init(_arg) do
    # A look is short, and matters most when all schedulers are busy.
    Process.flag(:priority, :high)
    :ok = Native.reaper_register()
    {:ok, nil, {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, timer), do: look(timer)

  @impl true
  def handle_info(message, timer) when message in [:due, :look], do: look(timer)
  def handle_info(_other, timer), do: {:noreply, timer}

  # The state is the timer of the next look, or nil.
  defp look(timer) do
    if timer, do: Process.cancel_timer(timer)
    began = now()
    kill()
    end_waits(0)

    case Native.deadline_rest() do
      :ok -> {:noreply, nil}
      # Measured from the beginning of a look, so that a look with thousands of kills delays no
      # deadline. A killed process dies only when it is scheduled, which on a single scheduler is
      # not during a look: hence the pause.
      :again -> {:noreply, Process.send_after(self(), :look, max(began + @interval, now() + @pause), abs: true)}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # The native side reports each process once, so this ends.
  defp kill do
    case Native.deadline_due() do
      [] ->
        :ok

      due ->
        Enum.each(due, &Process.exit(&1, :kill))
        kill()
    end
  end

  defp end_waits(:done), do: :ok
  defp end_waits(from), do: from |> Native.waits_due() |> end_waits()
end
