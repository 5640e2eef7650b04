defmodule Penstock.Bench.Loop do
  @moduledoc false
  # ns per call of a zero-arity fun, called in a loop by one fresh process, or by two at the same time. The cost of the
  # loop and of the call stays in: a user pays it too.

  # About as long as the system's own time slice: of many short samples most are not interrupted, of few long ones none.
  @sample_ns 5_000_000
  @calibration_ns 1_000_000

  def sampler(fun, processes) do
    calls = calibrate(fun, processes, 1)
    fn -> elapsed(fun, processes, calls) / (processes * calls) end
  end

  # Doubles until a run is long enough to be extrapolated from; the runs before it warm caches and code up. The shortest
  # of three, since one that was interrupted would look long enough far too early.
  defp calibrate(fun, processes, calls) do
    elapsed = Enum.min(for _ <- 1..3, do: elapsed(fun, processes, calls))

    if elapsed >= @calibration_ns,
      do: max(1, div(calls * @sample_ns, elapsed)),
      else: calibrate(fun, processes, calls * 2)
  end

  # From the first start to the last end. The processes are fresh, so that no sample inherits a grown heap, a mailbox
  # or a place in a holder table from the one before.
  defp elapsed(fun, processes, calls) do
    parent = self()
    workers = for _ <- 1..processes, do: spawn_link(fn -> work(parent, fun, calls) end)
    for worker <- workers, do: receive(do: ({^worker, :ready} -> :ok))
    for worker <- workers, do: send(worker, :go)
    times = for worker <- workers, do: receive(do: ({^worker, from, to} -> {from, to}))

    {first, _} = Enum.min_by(times, &elem(&1, 0))
    {_, last} = Enum.max_by(times, &elem(&1, 1))
    System.convert_time_unit(last - first, :native, :nanosecond)
  end

  defp work(parent, fun, calls) do
    send(parent, {self(), :ready})
    receive do: (:go -> :ok)
    from = System.monotonic_time()
    repeat(fun, calls)
    to = System.monotonic_time()
    send(parent, {self(), from, to})
  end

  defp repeat(_fun, 0), do: :ok

  defp repeat(fun, calls) do
    fun.()
    repeat(fun, calls - 1)
  end

  @doc "Calls `fun` until the process is killed."
  def forever(fun) do
    fun.()
    forever(fun)
  end
end
