defmodule Penstock.Bench.Ping do
  @moduledoc false
  # Row I5: the latency of an unrelated process while a pool refuses two processes all the time.

  alias Penstock.Bench.{Loop, Refuse, Row, Stats}

  @pings 1_000

  def rows do
    [
      %Row{
        id: "I5",
        work: "p99 ping during 2 loops of refusals, 1000 held",
        against: "during 2 loops of #[nif] no-ops",
        baseline: &Refuse.noop/0,
        ours: fn -> Refuse.refusal(:i5, 1_000) end,
        sampler: &sampler/2,
        processes: [2],
        rounds: 9,
        unit: "us",
        budget: {:ratio, 2.0}
      }
    ]
  end

  defp sampler(fun, processes) do
    fn ->
      loops = for _ <- 1..processes, do: spawn_link(Loop, :forever, [fun])
      echo = spawn_link(&echo/0)
      Process.sleep(50)
      p99 = Stats.quantile(for(_ <- 1..@pings, do: ping(echo)), 0.99)

      for pid <- [echo | loops] do
        Process.unlink(pid)
        Process.exit(pid, :kill)
      end

      System.convert_time_unit(round(p99), :native, :nanosecond) / 1000
    end
  end

  defp ping(echo) do
    Process.sleep(1)
    from = System.monotonic_time()
    send(echo, {:ping, self()})
    receive do: (:pong -> System.monotonic_time() - from)
  end

  defp echo do
    receive do: ({:ping, from} -> send(from, :pong))
    echo()
  end
end
