defmodule Penstock.Telemetry.Reporter do
  # A single process of the node, which the application supervises. Once a second it tells `:telemetry`
  # what the gates have counted. It also tells the changes of pressure that the sampler notices, and the
  # kills of the reaper.
  #
  # Handlers run in this process, so a slow handler delays only this process. A table outlives the
  # reporter, and says what has been told. So a killed reporter tells nothing twice.
  @moduledoc false
  use GenServer

  alias Penstock.Node.Start
  alias Penstock.Telemetry.{Flush, Kills, Pressure}
  alias Penstock.VM.Beat

  @interval_ms 1_000

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: Start.patiently(fn -> GenServer.start_link(__MODULE__, [], name: __MODULE__) end)

  ## Callbacks

  # The state is the timer of the next flush.
  @impl true
  def init(_arg), do: {:ok, next()}

  @impl true
  def handle_info({:timeout, timer, :beat}, timer) do
    Flush.run()
    {:noreply, next()}
  end

  def handle_info({:pressure, change}, timer) do
    Pressure.tell(change)
    {:noreply, timer}
  end

  def handle_info({:killed, pids}, timer) do
    Kills.tell(pids)
    {:noreply, timer}
  end

  def handle_info(_other, timer), do: {:noreply, timer}

  defp next, do: Beat.start_timer(Beat.next(@interval_ms))
end
