defmodule Penstock.Stress.SharedStreams do
  # Lets a thousand streams share a pool of 50. At most 50 tasks must run at once. Each item must
  # be done once, in order if its stream is ordered. Afterwards no permit and no process must be
  # left.
  @moduledoc false

  alias Penstock.Pool

  @streams 1_000
  @limit 50

  def run(items) do
    pool = Pool.new(limit: @limit)
    gauge = :atomics.new(2, [])
    processes = :erlang.system_info(:process_count)
    each = div(items, @streams)

    consumers =
      for n <- 1..@streams do
        spawn_monitor(fn -> exit({:consumed, consume(pool, gauge, each, rem(n, 2) == 0)}) end)
      end

    failed =
      for {pid, monitor} <- consumers,
          reason = receive(do: ({:DOWN, ^monitor, :process, ^pid, reason} -> reason)),
          reason != {:consumed, :ok},
          do: reason

    peak = :atomics.get(gauge, 2)
    info = Pool.info(pool)
    IO.puts("  #{info.acquired} items in #{@streams} streams, at most #{peak} tasks at once")

    cond do
      failed != [] -> {:error, {length(failed), hd(failed)}}
      peak > @limit -> {:error, {:over_limit, peak}}
      {info.in_use, info.holders, info.waiting} != {0, 0, 0} -> {:error, {:left_over, info}}
      info.acquired != each * @streams -> {:error, {:acquired, info.acquired}}
      :erlang.system_info(:process_count) > processes -> {:error, :processes_left}
      true -> {:ok, info.acquired}
    end
  end

  defp consume(pool, gauge, items, ordered?) do
    results =
      pool
      |> Penstock.Task.async_stream(1..items, &work(gauge, &1), max_concurrency: 4, ordered: ordered?)
      |> Enum.map(fn {:ok, item} -> item end)

    {:messages, messages} = Process.info(self(), :messages)
    expected = Enum.to_list(1..items)

    cond do
      messages != [] -> {:messages, messages}
      ordered? and results != expected -> :out_of_order
      Enum.sort(results) != expected -> :lost_or_twice
      true -> :ok
    end
  end

  defp work(gauge, item) do
    raise_peak(gauge, :atomics.add_get(gauge, 1, 1))
    :erlang.yield()
    :atomics.sub(gauge, 1, 1)
    item
  end

  defp raise_peak(gauge, running) do
    peak = :atomics.get(gauge, 2)

    if running > peak and :atomics.compare_exchange(gauge, 2, peak, running) != :ok,
      do: raise_peak(gauge, running)
  end
end
