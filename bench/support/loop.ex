defmodule Penstock.Bench.Loop do
  @moduledoc false
  # Measures the ns per call of a fun. One fresh process calls the fun in a loop, or two do so at
  # the same time. The figure includes the loop and the call, because a user pays for them too.
  #
  # A fun of one argument gets a number by which it chooses a key. In each process the number
  # counts down from a random start.

  # The length of a sample. Virtual machines run at two speeds, 1.7 times apart, for some ms each.
  # A sample is much shorter, so two samples in a row, one of each side, nearly always run at one
  # speed.
  @sample_ns 300_000
  # The shortest run from which the number of calls in a sample is extrapolated.
  @calibration_ns 1_000_000
  # The number for a fun of one argument starts at random, in a range of this size.
  @beginnings 1_000_000
  # An idle scheduler needs less to wake up and take a process.
  @settle_ns 100_000
  # The most attempts at a sample. An attempt fails if its processes do not run at the same time.
  @tries 1_000
  # The part of a sample in which all its processes must run at once.
  @least_shared 0.8
  # The most polls for the end of the last sample's work. After them the next sample begins
  # anyway, because a row may always have work in the background.
  @polls 10_000

  # `options` are:
  #
  #   * `:least_shared` - the part of a sample in which all processes must run, or else the sample
  #     is taken again; 0 for more processes than cores, which take turns
  #   * `:bound` - `true` binds each process to a scheduler of its own. Without that, all may run on
  #     one scheduler in turn, if the others need longer than a sample to wake up
  def sampler(fun, processes, sample_ns \\ @sample_ns, options \\ []) do
    team = %{fun: fun, processes: processes, bound: Keyword.get(options, :bound, false)}
    calls = calibrate(team, 1, sample_ns)
    least_shared = Keyword.get(options, :least_shared, @least_shared)
    fn -> together(team, calls, least_shared, @tries) / (processes * calls) end
  end

  # Takes a sample again if its processes ran together for too small a part of its time. A busy
  # machine may run the processes one after the other.
  defp together(%{processes: processes}, _calls, _least_shared, 0) do
    raise "#{processes} processes did not run at the same time in any of #{@tries} samples: the machine is too busy"
  end

  defp together(team, calls, least_shared, tries) do
    {elapsed, shared} = run(team, calls)

    if shared >= least_shared * elapsed or least_shared == 0,
      do: elapsed,
      else: together(team, calls, least_shared, tries - 1)
  end

  # Returns the number of calls in a sample. Doubles the calls until a run is long enough to
  # extrapolate from. The shorter runs warm up caches and code. The shortest of three runs counts,
  # because an interruption lengthens a run.
  defp calibrate(team, calls, sample_ns) do
    elapsed = Enum.min(for _ <- 1..3, do: elem(run(team, calls), 0))

    if elapsed >= @calibration_ns,
      do: max(1, div(calls * sample_ns, elapsed)),
      else: calibrate(team, calls * 2, sample_ns)
  end

  # Returns two times in ns: that from the first start to the last end, and the part of it in
  # which all processes ran. The processes are fresh, so that no sample inherits a grown heap, a
  # mailbox or a holder entry.
  defp run(%{fun: fun, processes: processes} = team, calls) do
    parent = self()
    # The number of processes that are there, and the time at which they begin.
    gate = :atomics.new(2, [])

    workers =
      for n <- 1..processes do
        place = if team.bound, do: [scheduler: n], else: []
        :erlang.spawn_opt(fn -> work(parent, gate, processes, fun, calls) end, [:link | place])
      end

    for worker <- workers, do: receive(do: ({^worker, :ready} -> :ok))
    await_quiet(@polls)
    for worker <- workers, do: send(worker, :go)
    times = for worker <- workers, do: receive(do: ({^worker, from, to} -> {from, to}))

    {starts, ends} = Enum.unzip(times)

    {in_ns(Enum.max(ends) - Enum.min(starts)), in_ns(Enum.min(ends) - Enum.max(starts))}
  end

  # Waits until only the caller is active, or no poll is left. Processes of the last sample may
  # still be ending, and their supervisors may still handle these ends. The next sample is of the
  # other side, and must not pay for this work.
  defp await_quiet(0), do: :ok

  defp await_quiet(polls) do
    # The one active process is the caller.
    if :erlang.statistics(:total_active_tasks) > 1 do
      :erlang.yield()
      await_quiet(polls - 1)
    end
  end

  defp in_ns(native), do: System.convert_time_unit(native, :native, :nanosecond)

  defp work(parent, gate, processes, fun, calls) do
    send(parent, {self(), :ready})
    receive do: (:go -> :ok)
    begin = calls + :rand.uniform(@beginnings)
    meet(gate, processes)
    from = System.monotonic_time()
    repeat(fun, calls, begin)
    to = System.monotonic_time()
    send(parent, {self(), from, to})
  end

  # Waits until all processes are there and for a moment more, so that they begin together. They
  # wake up some µs apart, and may meet on one scheduler before another takes its part.
  defp meet(_gate, 1), do: :ok

  defp meet(gate, processes) do
    if :atomics.add_get(gate, 1, 1) == processes, do: :atomics.put(gate, 2, now() + @settle_ns)
    await_start(gate)
  end

  defp await_start(gate) do
    start = :atomics.get(gate, 2)
    if start == 0 or now() < start, do: await_start(gate)
  end

  # Returns the time in ns since the VM began.
  defp now, do: in_ns(System.monotonic_time() - :erlang.system_info(:start_time))

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
