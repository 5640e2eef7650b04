defmodule Penstock.Bench.Loop do
  @moduledoc false
  # ns per call of a fun, called in a loop by one fresh process, or by two at the same time. The cost of the loop and of
  # the call stays in: a user pays it too. A fun of one argument is given a number that counts down, to choose by, from another
  # beginning in each sample.

  # Such machines run at two speeds, 1.7 times apart, for some ms each. A sample is much shorter, so that nearly always both
  # sides of a round are of one speed.
  @sample_ns 300_000
  @calibration_ns 1_000_000
  @beginnings 1_000_000
  # Samples in a row that were not of two processes at the same time.
  @tries 1_000
  # Looks at whether the work of the last sample is over; a row that has work in the background goes on after these.
  @looks 10_000

  def sampler(fun, processes, sample_ns \\ @sample_ns) do
    calls = calibrate(fun, processes, 1, sample_ns)
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
  defp calibrate(fun, processes, calls, sample_ns) do
    elapsed = Enum.min(for _ <- 1..3, do: elem(run(fun, processes, calls), 0))

    if elapsed >= @calibration_ns,
      do: max(1, div(calls * sample_ns, elapsed)),
      else: calibrate(fun, processes, calls * 2, sample_ns)
  end

  # From the first start to the last end, and how long of it all of them ran. The processes are fresh, so that no sample
  # inherits a grown heap, a mailbox or a place in a holder table from the one before.
  defp run(fun, processes, calls) do
    parent = self()
    gate = :atomics.new(1, [])
    workers = for _ <- 1..processes, do: spawn_link(fn -> work(parent, gate, processes, fun, calls) end)
    for worker <- workers, do: receive(do: ({^worker, :ready} -> :ok))
    await_quiet(@looks)
    for worker <- workers, do: send(worker, :go)
    times = for worker <- workers, do: receive(do: ({^worker, from, to} -> {from, to}))

    {starts, ends} = Enum.unzip(times)

    {in_ns(Enum.max(ends) - Enum.min(starts)), in_ns(Enum.min(ends) - Enum.max(starts))}
  end

  # Processes that a sample has started end after it, and supervisors see to that: the next
  # sample, which is of the other side, would pay for it.
  defp await_quiet(0), do: :ok

  defp await_quiet(looks) do
    # This process is active itself.
    if :erlang.statistics(:total_active_tasks) > 1 do
      :erlang.yield()
      await_quiet(looks - 1)
    end
  end

  defp in_ns(native), do: System.convert_time_unit(native, :native, :nanosecond)

  defp work(parent, gate, processes, fun, calls) do
    send(parent, {self(), :ready})
    receive do: (:go -> :ok)
    # A process is woken some µs after another, which matters in so short a time: they wait for each other.
    :atomics.add(gate, 1, 1)
    begin = calls + :rand.uniform(@beginnings)
    meet(gate, processes)
    from = System.monotonic_time()
    repeat(fun, calls, begin)
    to = System.monotonic_time()
    send(parent, {self(), from, to})
  end

  defp meet(gate, processes), do: if(:atomics.get(gate, 1) < processes, do: meet(gate, processes))

  defp repeat(fun, calls, _begin) when is_function(fun, 0), do: repeat_same(fun, calls)
  defp repeat(fun, calls, begin), do: repeat_each(fun, calls, begin)

  defp repeat_same(_fun, 0), do: :ok

  defp repeat_same(fun, calls) do
    fun.()
    repeat_same(fun, calls - 1)
  end

  defp repeat_each(_fun, 0, _at), do: :ok

  defp repeat_each(fun, calls, at) do
    fun.(at)
    repeat_each(fun, calls - 1, at - 1)
  end

  @doc "Calls `fun` until the process is killed."
  def forever(fun) do
    fun.()
    forever(fun)
  end
end
