defmodule Penstock.Node.Reaper do
  # Kills processes that run longer than their `:max_runtime`, and ends waits by messages whose
  # `:timeout` is over.
  #
  # It keeps nothing: the native side knows who is due, holds no timer and nothing of a process
  # that is dead, and tells the next reaper of those that are not, though the last one was told.
  # So a reaper that is killed loses nothing. While there are neither deadlines nor such waits it
  # sleeps.
  @moduledoc false
  use GenServer

  alias Penstock.Native

  # ms between two looks. With what a busy VM adds to that, a process is killed at most 100 ms late.
  @interval 20

  # ms that others may run in between, at least.
  @pause 5

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  ## Callbacks

  @impl true
  def init(_arg) do
    # What it does is short, and matters most when all schedulers are busy.
    Process.flag(:priority, :high)
    :ok = Native.reaper_register()
    {:ok, nil, {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, timer), do: look(timer)

  @impl true
  def handle_info(message, timer) when message in [:due, :look], do: look(timer)
  def handle_info(_other, timer), do: {:noreply, timer}

  # The timer of the next look, if one is due, is all that it remembers.
  defp look(timer) do
    if timer, do: Process.cancel_timer(timer)
    began = now()
    kill()
    end_waits(0)

    case Native.deadline_rest() do
      :ok -> {:noreply, nil}
      # From the beginning of one look to that of the next, so that one that has thousands to kill makes nobody wait longer; but
      # whoever is killed dies only when it is let run, and where there is one scheduler, it is not while we look.
      :again -> {:noreply, Process.send_after(self(), :look, max(began + @interval, now() + @pause), abs: true)}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Each of them is told of once, so there is an end.
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
