defmodule Penstock.Reaper do
  # Kills processes that run longer than their `:max_runtime`.
  #
  # It keeps nothing: the native side knows who is due, holds no timer and nothing of a process that is dead, and tells again of
  # one that has been told of and is not. So a reaper that is killed loses nothing. While there are no deadlines it sleeps.
  @moduledoc false
  use GenServer

  alias Penstock.Native

  # ms between two looks. With what a busy VM adds to that, a process is killed at most 100 ms late.
  @interval 50

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
    # From the beginning of one look to that of the next: one that has thousands to kill makes nobody wait longer.
    next = System.monotonic_time(:millisecond) + @interval
    kill(Native.deadline_now())

    case Native.deadline_rest() do
      :ok -> {:noreply, nil}
      :again -> {:noreply, Process.send_after(self(), :look, next, abs: true)}
    end
  end

  # Whom this look has told of it does not tell of again: those die only when they are let run, and where there is one
  # scheduler, a look that did not end would not let them.
  defp kill(began) do
    case Native.deadline_due(began) do
      [] ->
        :ok

      due ->
        Enum.each(due, &Process.exit(&1, :kill))
        kill(began)
    end
  end
end
