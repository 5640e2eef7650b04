defmodule Penstock.Node.Reaper do
  # A single process of the node, which the application supervises. It kills processes that run
  # longer than their `:max_runtime`, and tells the reporter of telemetry. It also ends the waits of
  # `Penstock.Pool.acquire_async/2` whose `:timeout` is over.
  #
  # The native side keeps the deadlines, and the reaper keeps only a timer. So a killed reaper
  # loses nothing: the native side reports each overdue process that is still alive to the next
  # reaper. While there are no deadlines and no such waits, the reaper sleeps until the native
  # side sends `:due`.
  @moduledoc false
  use GenServer

  alias Penstock.Native
  alias Penstock.Node.Start
  alias Penstock.Telemetry.{Kills, Reporter}

  # The ms from the start of one check to the start of the next. A process must be killed at most
  # 100 ms late. The other 80 ms are for the delay of a check in a busy VM.
  @interval 20

  # The least time in ms from the end of one check to the start of the next.
  @pause 5

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: Start.patiently(fn -> GenServer.start_link(__MODULE__, [], name: __MODULE__) end)

  ## Callbacks

  @impl true
  def init(_arg) do
    # The priority is high, because a check must run in time when all schedulers are busy. A check
    # is short, so other processes hardly wait.
    Process.flag(:priority, :high)
    # It is loaded now, because a check must not wait for the code server.
    {:module, Kills} = Code.ensure_loaded(Kills)
    :ok = Native.reaper_register()
    {:ok, nil, {:continue, :check}}
  end

  @impl true
  def handle_continue(:check, timer), do: check(timer)

  @impl true
  def handle_info(message, timer) when message in [:due, :check], do: check(timer)
  def handle_info(_other, timer), do: {:noreply, timer}

  # The state is the timer of the next check, or nil.
  defp check(timer) do
    if timer, do: Process.cancel_timer(timer)
    began = now()
    kill_overdue()
    end_overdue_waits(0)

    case Native.deadline_rest() do
      :ok -> {:noreply, nil}
      # The interval counts from the start of this check, so that a long check, with thousands of
      # kills, delays the next check as little as possible. The pause counts from the end of this
      # check, because a killed process dies only when it is scheduled. In a VM with one scheduler
      # no process is scheduled during a check.
      :again -> {:noreply, Process.send_after(self(), :check, max(began + @interval, now() + @pause), abs: true)}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Repeats until no process is overdue. The repetition ends, because the native side reports each
  # overdue process to this reaper only once.
  defp kill_overdue do
    case Native.deadline_due() do
      [] ->
        :ok

      due ->
        Enum.each(due, &Process.exit(&1, :kill))
        Kills.notice(due, Reporter)
        kill_overdue()
    end
  end

  defp end_overdue_waits(:done), do: :ok
  defp end_overdue_waits(from), do: from |> Native.waits_due() |> end_overdue_waits()
end
