defmodule Penstock.Bench.Contention.Simulation do
  @moduledoc false
  # Simulates cores that repeat one operation. Between two accesses to shared lines a core works on
  # its own. An access is free if the core has the line: alone for a write, in any copy for a read.
  # Otherwise the line moves, which takes the cost of a transfer. One line moves once at a time, and
  # serves the cores first come, first served.
  #
  # The model leaves out what would need another machine to measure: transfers that differ in
  # length, and a bus that many lines share. It also leaves out a compare-and-swap that fails: the
  # core has the line by then, so the repetition is quick.

  # The operations of each core that are simulated.
  @operations 400
  # The work between two accesses differs by up to this part of it, so that cores do not march in
  # step.
  @jitter 0.25

  @doc """
  Returns the operations per ns of all `cores` together.

  `work_ns` is the time of an operation without transfers.
  """
  def throughput(accesses, work_ns, transfer_ns, cores) do
    :rand.seed(:exsss, {cores, length(accesses), 1})
    gap = work_ns / length(accesses)
    steps = List.to_tuple(accesses)

    begin =
      for core <- 1..cores, reduce: :gb_sets.new() do
        queue -> :gb_sets.add({gap * :rand.uniform(), core, 0}, queue)
      end

    # `each` is the number at which a core begins to take one line after the other.
    state = %{
      steps: steps,
      gap: gap,
      transfer: transfer_ns,
      lines: %{},
      chosen: Map.new(1..cores, &{&1, :rand.uniform(1_000_000)})
    }

    total = cores * @operations * tuple_size(steps)
    # The first tenth does not count: all lines are new there.
    {from, queue, state} = run(begin, state, div(total, 10), 0.0)
    {to, _queue, _state} = run(queue, state, total - div(total, 10), from)
    (total - div(total, 10)) / tuple_size(steps) / (to - from)
  end

  # Handles a number of accesses, in the order of their times. Returns the time of the last.
  defp run(queue, state, 0, now), do: {now, queue, state}

  defp run(queue, state, left, _now) do
    {{at, core, step}, queue} = :gb_sets.take_smallest(queue)
    count = tuple_size(state.steps)
    {line, kind} = elem(state.steps, rem(step, count))
    {done, state} = access(state, at, core, place(line, state.chosen[core], div(step, count)), kind)
    work = state.gap * (1 + @jitter * (2 * :rand.uniform() - 1))
    run(:gb_sets.add({done + work, core, step + 1}, queue), state, left - 1, at)
  end

  # Names the line that a core means in its `nth` operation.
  defp place({:one, n}, _chosen, _nth), do: {:one, n}
  defp place({:group, count}, chosen, _nth), do: {:group, rem(chosen, count)}
  defp place({:each, count}, chosen, nth), do: {:each, rem(chosen + nth, count)}

  # A line has the time when its last move ends, and the cores that can write it and read it, each
  # with the time until which it can. A move begins with a request, which takes half of the
  # transfer to arrive. Until then the cores that have the line keep it.
  @new %{free: 0.0, write: %{}, read: %{}}

  # Returns when the core has the line.
  defp access(state, at, core, name, kind) do
    line = Map.get(state.lines, name, @new)

    cond do
      # No core had the line before, so it comes from memory, which does not count.
      line == @new -> {at, put(state, name, %{line | write: %{core => :forever}, read: %{core => :forever}})}
      at < Map.get(line[kind], core, 0) -> {at, state}
      true -> move(state, at, core, name, line, kind)
    end
  end

  defp move(state, at, core, name, line, kind) do
    start = max(at, line.free)
    lost = start + state.transfer / 2
    write = keep(line.write, at, lost)
    read = if kind == :write, do: keep(line.read, at, lost), else: line.read
    write = if kind == :write, do: Map.put(write, core, :forever), else: Map.delete(write, core)
    moved = %{free: start + state.transfer, write: write, read: Map.put(read, core, :forever)}
    {moved.free, put(state, name, moved)}
  end

  # `:forever` is larger than each number.
  defp keep(cores, at, lost), do: for({core, until} <- cores, until > at, into: %{}, do: {core, min(until, lost)})

  defp put(state, name, line), do: %{state | lines: Map.put(state.lines, name, line)}
end
