defmodule Penstock.Stress.MailboxDeath do
  # Kills a server at which a thousand senders wait, many times. Measures the time from the kill until
  # the last of them has its answer.
  @moduledoc false

  alias Penstock.Mailbox

  @waiters 1_000
  # The longest time in ms, in nine rounds of ten: a machine may stand still in a round.
  @longest_ms 10
  @share 0.9

  defmodule Server do
    @moduledoc false
    use GenServer
    use Penstock.Mailbox, limit: 1
    @impl true
    def init(arg), do: {:ok, arg}
    @impl true
    def handle_cast(:block, _state), do: Process.sleep(:infinity)
  end

  def run(rounds) do
    times = for(_ <- 1..rounds, do: round()) |> Enum.sort()
    p90 = Enum.at(times, floor(rounds * @share) - 1)

    IO.puts(
      "  the last of #{@waiters} waiters has its answer after #{hd(times)} to #{List.last(times)} ms, p90 #{p90} ms"
    )

    if p90 <= @longest_ms, do: {:ok, rounds}, else: {:error, {:slow, p90}}
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
