defmodule Penstock.Stress.MailboxDeath do
  # Kills a server at which a thousand senders wait, many times. Measures the time from the kill until
  # the last of them has its answer.
  @moduledoc false

  alias Penstock.Mailbox

  @waiters 1_000
  # The longest time in ms of the better half of all rounds. In the others, a busy machine may run other
  # programs while the waiters are ready.
  @longest_ms 10

  defmodule Server do
    @moduledoc false
    use GenServer
    use Penstock.Mailbox, limit: 1
    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_cast(:block, _state), do: Process.sleep(:infinity)
  end

  # The metered build spends more on the measurement of a call than on the call.
  def run(rounds, metered?) do
    times = for(_ <- 1..rounds, do: round()) |> Enum.sort()
    median = Enum.at(times, div(rounds, 2))
    range = "#{hd(times)} to #{List.last(times)} ms, median #{median} ms"
    IO.puts("  the last of #{@waiters} waiters has its answer after #{range}")
    if metered? or median <= @longest_ms, do: {:ok, rounds}, else: {:error, {:slow, median}}
  end

  defp round do
    {:ok, server} = GenServer.start(Server, nil)
    :ok = Mailbox.cast(server, :block)
    :ok = Mailbox.cast(server, :waits, timeout: :infinity)
    waiters = for n <- 1..@waiters, do: spawn_monitor(fn -> wait(server, rem(n, 2)) end)
    until(fn -> Mailbox.info(server).waiting == @waiters end)
    killed = System.monotonic_time()
    Process.exit(server, :kill)
    ended = for {pid, monitor} <- waiters, do: receive(do: ({:DOWN, ^monitor, :process, ^pid, {:closed, at}} -> at))
    Float.round(System.convert_time_unit(Enum.max(ended) - killed, :native, :microsecond) / 1_000, 2)
  end

  defp wait(server, kind) do
    timeout = if kind == 0, do: :infinity, else: 60_000
    {:error, :closed} = Mailbox.cast(server, :never, timeout: timeout)
    exit({:closed, System.monotonic_time()})
  end

  defp until(fun), do: if(not fun.(), do: until(fun))
end
