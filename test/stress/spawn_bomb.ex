defmodule Penstock.Stress.SpawnBomb do
  # Creates 100,000 processes a second, or as many as the VM can, and calls `Penstock.spawners/1`
  # meanwhile. The call must name the creators first, and its processes must stay small. It must not
  # slow down the creator of 100,000 a second by more than a fifth, and its figure for that creator
  # must be near to the truth. One creator makes processes with large funs.
  #
  # Prints also how much it slows down creators that use a whole core. These figures need a machine
  # without other load, so they decide nothing.
  @moduledoc false

  @round_ms 1_000
  @rounds 5
  @max_slowdown 0.2
  @max_memory 32 * 1_024 * 1_024
  # The memory is looked at with each message. Before that, each scheduler may create for a whole
  # time slice, in which large funs make most.
  @max_memory_large 256 * 1_024 * 1_024
  @large 10_000
  # The figures of all rounds, divided by how many processes were created.
  @ratio_paced {0.5, 1.5}
  @max_ratio 3
  @per_second 100_000
  # The paced creator makes a batch each 10 ms.
  @batches_per_second 100
  @sample_ms 2

  def run do
    results = for bomb <- [:paced, :loop, :chain, :crowd, :tasks, :large], do: {bomb, compare(bomb)}
    bad = for {bomb, {_figures, faults}} <- results, faults != [], do: {bomb, faults}
    if bad == [], do: {:ok, length(results)}, else: {:error, bad}
  end

  defp compare(bomb) do
    # Alternates, so that both see the same changes of the machine.
    rounds = for _ <- 1..@rounds, do: {round(bomb, false), round(bomb, true)}
    without = rounds |> Enum.map(fn {alone, _} -> alone.per_second end) |> Enum.max()
    traced = rounds |> Enum.map(fn {_, traced} -> traced.per_second end) |> Enum.max()
    memory = rounds |> Enum.map(fn {_, traced} -> traced.memory end) |> Enum.max()
    {last, counted} = List.last(rounds)
    first = if is_list(counted.rows), do: List.first(counted.rows)
    slowdown = 1 - traced / without
    ratio = ratio(rounds)

    figures = %{
      without: without,
      traced: traced,
      percent: Float.round(slowdown * 100, 1),
      memory_kb: div(memory, 1_024),
      ratio: Float.round(ratio, 2),
      first: first && {first.mfa, first.by, first.spawned}
    }

    IO.puts("  #{bomb}: #{inspect(figures)} (last round: #{last.per_second} without, #{counted.per_second} with)")

    faults = [
      slow: bomb == :paced and slowdown > @max_slowdown,
      memory: memory > if(bomb == :large, do: @max_memory_large, else: @max_memory),
      ratio: not fair?(bomb, ratio),
      name: first == nil or not named?(bomb, first)
    ]

    {figures, for({fault, true} <- faults, do: fault)}
  end

  # Returns how many times the created processes the figures tell. The rows of a creator differ in
  # what it ran.
  defp ratio(rounds) do
    created = Enum.sum(for {_, traced} <- rounds, do: traced.count)
    told = Enum.sum(for {_, %{rows: rows}} <- rounds, is_list(rows), row <- rows, do: row.spawned)
    told / max(created, 1)
  end

  defp fair?(:paced, ratio), do: ratio >= elem(@ratio_paced, 0) and ratio <= elem(@ratio_paced, 1)
  defp fair?(_bomb, ratio), do: ratio <= @max_ratio

  defp named?(:tasks, %{by: {module, _, _}}), do: module == __MODULE__
  defp named?(_bomb, %{mfa: {module, _, _}}), do: module == __MODULE__

  # Returns how many processes were created, in all and per second, the most memory that the processes
  # of the call had, and the rows. A call takes longer than its time if it has modules to load.
  defp round(bomb, traced?) do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    counter = :counters.new(1, [])
    stop = :atomics.new(1, [])

    watch =
      Task.async(fn ->
        Process.flag(:priority, :high)
        watch(stop, 0)
      end)

    from = System.monotonic_time(:microsecond)
    bombers = for _ <- 1..bombers(bomb), do: spawn_monitor(fn -> bomb(bomb, counter, stop) end)

    rows =
      if traced? do
        Penstock.spawners(@round_ms)
      else
        receive after: (@round_ms -> [])
      end

    count = :counters.get(counter, 1)
    elapsed = System.monotonic_time(:microsecond) - from
    :atomics.put(stop, 1, 1)
    for {_pid, monitor} <- bombers, do: receive(do: ({:DOWN, ^monitor, _, _, _} -> :ok))
    %{count: count, per_second: div(count * 1_000_000, elapsed), memory: Task.await(watch), rows: rows}
  end

  defp bombers(:crowd), do: 100
  defp bombers(_bomb), do: 1

  defp bomb(:paced, counter, stop), do: paced(counter, stop, System.monotonic_time(:microsecond))
  defp bomb(:loop, counter, stop), do: loop(counter, stop)
  defp bomb(:crowd, counter, stop), do: loop(counter, stop)
  defp bomb(:large, counter, stop), do: large(Enum.to_list(1..@large), counter, stop)
  defp bomb(:tasks, counter, stop), do: tasks(counter, stop)

  defp bomb(:chain, counter, stop) do
    done = self()
    spawn(fn -> chain(counter, stop, done) end)
    receive do: (:done -> :ok)
  end

  # Waits for the next batch busily, because a timer is exact to 1 ms only.
  defp paced(counter, stop, due) do
    cond do
      :atomics.get(stop, 1) == 1 ->
        :ok

      System.monotonic_time(:microsecond) < due ->
        :erlang.yield()
        paced(counter, stop, due)

      true ->
        for _ <- 1..div(@per_second, @batches_per_second), do: spawn(&nothing/0)
        :counters.add(counter, 1, div(@per_second, @batches_per_second))
        paced(counter, stop, due + div(1_000_000, @batches_per_second))
    end
  end

  defp loop(counter, stop) do
    if :atomics.get(stop, 1) == 0 do
      for _ <- 1..100, do: spawn(&nothing/0)
      :counters.add(counter, 1, 100)
      loop(counter, stop)
    end
  end

  defp large(list, counter, stop) do
    if :atomics.get(stop, 1) == 0 do
      spawn(fn -> hd(list) end)
      :counters.add(counter, 1, 1)
      large(list, counter, stop)
    end
  end

  defp tasks(counter, stop) do
    if :atomics.get(stop, 1) == 0 do
      Task.await(Task.async(&nothing/0))
      :counters.add(counter, 1, 1)
      tasks(counter, stop)
    end
  end

  defp chain(counter, stop, done) do
    if :atomics.get(stop, 1) == 0 do
      :counters.add(counter, 1, 1)
      spawn(fn -> chain(counter, stop, done) end)
    else
      send(done, :done)
    end
  end

  defp nothing, do: :ok

  defp watch(stop, most) do
    most = max(most, memory_of_call())
    if :atomics.get(stop, 1) == 0, do: receive(after: (@sample_ms -> watch(stop, most))), else: most
  end

  # The run is linked to the tracer and to the process that asks.
  defp memory_of_call do
    with run when is_pid(run) <- Process.whereis(Penstock.Spawners),
         {:links, links} <- Process.info(run, :links) do
      Enum.sum(for pid <- [run | links], {:memory, bytes} <- [Process.info(pid, :memory)], do: bytes)
    else
      nil -> 0
    end
  end
end
