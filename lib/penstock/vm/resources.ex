defmodule Penstock.VM.Resources do
  # Measures the resources of the VM. `counts/1` asks the VM alone. `files/1` reads files of the
  # operating system.
  @moduledoc false

  alias Penstock.VM.{Memory, Stall}

  @type figures :: Penstock.VM.figures()

  @counted %{
    processes: {:process_count, :process_limit},
    ports: {:port_count, :port_limit},
    atoms: {:atom_count, :atom_limit},
    ets: {:ets_count, :ets_limit}
  }

  # The run queue counts as full when this many processes wait for each scheduler, and a process
  # has waited this long.
  @full_queue 100
  @full_delay_us 100_000

  @typedoc """
  Where the files are; what changes slowly: the limit of the memory and the stalls; when these were
  read, in ms; and whether a bound of the memory is read quickly.
  """
  @type sources :: %{
          memory: Memory.t(),
          limit: Memory.limit() | nil,
          stall: Stall.t(),
          stalls: %{optional(:cpu_stall) => figures | nil, optional(:memory_stall) => figures | nil},
          looked_at: integer,
          stalls_at: integer | nil,
          bounds?: boolean
        }

  # A limit rarely changes, and to look for it takes longer than ten reads.
  @look_ms 5_000
  # A read of a bound that takes longer than this may have waited for the kernel.
  @slow_us 1_000
  # The kernel averages stalls over 10 s.
  @stalls_ms 1_000

  # Returns the figures of the resources that the VM counts. `delay` is the last wait for a
  # scheduler, in µs.
  @spec counts(non_neg_integer) :: %{atom => figures}
  def counts(delay) do
    counted = for {resource, {count, limit}} <- @counted, do: {resource, share(system(count), system(limit))}
    Map.new([{:run_queue, run_queue(delay)} | counted])
  end

  # Returns the figures of the resources that the operating system reports, nil for one that it does
  # not, and the sources for the next read; `nil` stands for the sources of the first read. For
  # memory, a bound of the use is enough if it is below the share `least`.
  @spec files(sources | nil, float) ::
          {%{memory: figures | nil, cpu_stall: figures | nil, memory_stall: figures | nil}, sources}
  def files(sources, least) do
    now = System.monotonic_time(:millisecond)
    sources = sources |> look(now) |> read_stalls(now)
    {bound, sources} = bound(sources, least)
    memory = bound || Memory.read(sources.memory, sources.limit)
    {Map.put(sources.stalls, :memory, memory), sources}
  end

  defp bound(%{bounds?: false} = sources, _least), do: {nil, sources}

  defp bound(sources, least) do
    began = System.monotonic_time(:microsecond)
    bound = Memory.bound(sources.memory, sources.limit, least)
    took = System.monotonic_time(:microsecond) - began
    {bound, %{sources | bounds?: bound != nil and took <= @slow_us}}
  end

  # Looks where the files are, and reads the limit, if that is due.
  defp look(%{looked_at: at} = sources, now) when now - at < @look_ms, do: sources

  defp look(before, now) do
    memory = Memory.find()
    limit = Memory.limit(memory)

    if before != nil and lost?(before.memory, memory, limit),
      do: %{before | looked_at: now, bounds?: true},
      else: %{
        memory: memory,
        limit: limit,
        stall: Stall.find(),
        stalls: %{},
        looked_at: now,
        stalls_at: nil,
        bounds?: true
      }
  end

  # Without a limit of the memory, or the control groups of before, files cannot be read now. Then
  # all stays as it was.
  defp lost?(before, memory, limit), do: limit == nil or (Memory.grouped?(before) and not Memory.grouped?(memory))

  defp read_stalls(%{stalls_at: at} = sources, now) when at != nil and now - at < @stalls_ms, do: sources

  defp read_stalls(sources, now) do
    %{cpu: cpu, memory: memory} = Stall.read(sources.stall)
    %{sources | stalls: %{cpu_stall: percent(cpu), memory_stall: percent(memory)}, stalls_at: now}
  end

  defp system(item), do: :erlang.system_info(item)

  defp share(count, limit), do: %{count: count, limit: limit, used: min(count / limit, 1.0)}

  # A queue of tasks that take no time is long without a wait. A VM that was suspended delays a
  # process without a queue. So the lower share counts.
  defp run_queue(delay) do
    waiting = :erlang.statistics(:total_run_queue_lengths) / system(:schedulers_online)
    used = min(min(waiting / @full_queue, delay / @full_delay_us), 1.0)
    %{count: waiting, limit: @full_queue, used: used, delay: delay / 1_000}
  end

  defp percent(nil), do: nil
  defp percent(share), do: %{count: share * 100, limit: 100, used: share}
end
