defmodule Penstock.Bench.Loop do
  @moduledoc false
  # ns per call of a fun, called in a loop by one fresh process, or by two at the same time. The cost of the loop and of
  # the call stays in: a user pays it too. A fun of one argument is told how many calls are left, to choose by.

  # About as long as the system's own time slice: of many short samples most are not interrupted, of few long ones none.
  @sample_ns 5_000_000
  @calibration_ns 1_000_000
  # Samples in a row that were not of two processes at the same time.
  @tries 1_000

  def sampler(fun, processes) do
    calls = calibrate(fun, processes, 1)
    fn -> together(fun, processes, calls, @tries) / (processes * calls) end
  end

  # A machine that is busy may run one after the other, which would be measured as two at once, and is not.
  defp together(_fun, processes, _calls, 0) do
    raise "#{processes} processes did not run at the same time in any of #{@tries} samples: the machine is too busy"
  end

  defp together(fun, processes, calls, tries) do
    {elapsed, shared} = run(fun, processes, calls)
    if shared >= 0.8 * elapsed, do: elapsed, else: together(fun, processes, calls, tries - 1)
  end

  # Doubles until a run is long enough to be extrapolated from; the runs before it warm caches and code up. The shortest
  # of three, since one that was interrupted would look long enough far too early.
  defp calibrate(fun, processes, calls) do
    elapsed = Enum.min(for _ <- 1..3, do: elem(run(fun, processes, calls), 0))

    if elapsed >= @calibration_ns,
      do: max(1, div(calls * @sample_ns, elapsed)),
      else: calibrate(fun, processes, calls * 2)
  end

  # From the first start to the last end, and how long of it all of them ran. The processes are fresh, so that no sample
  # inherits a grown heap, a mailbox or a place in a holder table from the one before.
  defp run(fun, processes, calls) do
    parent = self()
    workers = for _ <- 1..processes, do: spawn_link(fn -> work(parent, fun, calls) end)
    for worker <- workers, do: receive(do: ({^worker, :ready} -> :ok))
    for worker <- workers, do: send(worker, :go)
    times = for worker <- workers, do: receive(do: ({^worker, from, to} -> {from, to}))

    {starts, ends} = Enum.unzip(times)

    {in_ns(Enum.max(ends) - Enum.min(starts)), in_ns(Enum.min(ends) - Enum.max(starts))}
  end

  defp in_ns(native), do: System.convert_time_unit(native, :native, :nanosecond)

  defp work(parent, fun, calls) do
    send(parent, {self(), :ready})
    receive do: (:go -> :ok)
    from = System.monotonic_time()
    repeat(fun, calls)
    to = System.monotonic_time()
    send(parent, {self(), from, to})
  end

  defp repeat(fun, calls) when is_function(fun, 0), do: repeat_same(fun, calls)
  defp repeat(fun, calls), do: repeat_each(fun, calls)

  defp repeat_same(_fun, 0), do: :ok

  defp repeat_same(fun, calls) do
    fun.()
    repeat_same(fun, calls - 1)
  end

  defp repeat_each(_fun, 0), do: :ok

  defp repeat_each(fun, calls) do
    fun.(calls)
    repeat_each(fun, calls - 1)
  end

  @doc "Calls `fun` until the process is killed."
  def forever(fun) do
    fun.()
    forever(fun)
  end
end
