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
    {:ok, [], {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, state), do: look(state)

  @impl true
  def handle_info(message, state) when message in [:due, :look], do: look(state)
  def handle_info(_other, state), do: {:noreply, state}

  defp look(state) do
    kill(Native.deadline_due())
    if Native.deadline_rest() == :again, do: Process.send_after(self(), :look, @interval)
    {:noreply, state}
  end

  defp kill([]), do: :ok

  defp kill(due) do
    Enum.each(due, &Process.exit(&1, :kill))
    kill(Native.deadline_due())
  end
end
