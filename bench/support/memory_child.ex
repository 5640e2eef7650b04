defmodule Penstock.Bench.MemoryChild do
  @moduledoc false
  # Runs in a fresh VM, in which 100,000 processes exist. Each of them acquires a permit, or does
  # nothing. Measures by how many bytes per process the resident memory grows meanwhile.

  @processes 100_000

  def bytes_per_process(side) do
    {:ok, _} = Application.ensure_all_started(:penstock)
    warm_up()

    done = :counters.new(1, [])
    pids = for _ <- 1..@processes, do: spawn(fn -> process(side, done) end)
    Enum.each(pids, &send(&1, :wake))
    until(fn -> :counters.get(done, 1) == @processes end)
    settle()

    before = resident()
    # The pool starts after the first measurement, so that its memory for 100,000 holders counts.
    if side == :pool, do: {:ok, _} = Penstock.Pool.start_link(name: :b15, limit: @processes)
    Enum.each(pids, &send(&1, :go))
    until(fn -> :counters.get(done, 1) == 2 * @processes end)
    settle()
    if side == :pool, do: %{in_use: @processes} = Penstock.Pool.info(:b15)

    (resident() - before) / @processes
  end

  # Loads the code and the NIF before the first measurement, because their memory must not count.
  defp warm_up do
    {:ok, _} = Penstock.Pool.start_link(name: :b15_warm_up, limit: 1)
    :ok = Penstock.Pool.try_acquire(:b15_warm_up)
    :ok = Penstock.Pool.release(:b15_warm_up)
    Penstock.Pool.info(:b15_warm_up)
  end

  # `:wake` makes each process run once before the first measurement. So the memory that a process
  # needs for its first run does not count as memory of the pool.
  defp process(side, done) do
    receive do: (:wake -> :counters.add(done, 1, 1))
    receive do: (:go -> :ok)
    if side == :pool, do: :ok = Penstock.Pool.try_acquire(:b15)
    :counters.add(done, 1, 1)
    Process.sleep(:infinity)
  end

  defp until(done?) do
    unless done?.() do
      Process.sleep(1)
      until(done?)
    end
  end

  defp settle do
    :erlang.garbage_collect()
    Process.sleep(300)
  end

  defp resident do
    [_, kilobytes] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1024
  end
end
