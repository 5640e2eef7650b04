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
  Where the files are; what changes slowly: the limit of the memory and the stalls; and the number
  of reads until these are read again.
  """
  @type sources :: %{
          memory: Memory.t(),
          limit: Memory.limit() | nil,
          stalls: %{cpu_stall: figures | nil, memory_stall: figures | nil},
          reads: non_neg_integer
        }

  # A limit rarely changes, and the kernel averages stalls over 10 s.
  @reads_between 10

  # Returns the figures of the resources that the VM counts. `delay` is the last wait for a
  # scheduler, in µs.
  @spec counts(non_neg_integer) :: %{atom => figures}
  def counts(delay) do
    counted = for {resource, {count, limit}} <- @counted, do: {resource, share(system(count), system(limit))}
    Map.new([{:run_queue, run_queue(delay)} | counted])
  end

  # Returns the figures of the resources that the operating system reports, nil for one that it does
  # not, and the sources for the next read; `nil` stands for the sources of the first read.
  @spec files(sources | nil) ::
          {%{memory: figures | nil, cpu_stall: figures | nil, memory_stall: figures | nil}, sources}
  def files(nil), do: files(look(nil))
  def files(%{reads: 0} = sources), do: files(look(sources))

  def files(%{reads: reads} = sources) do
    memory = Memory.read(sources.memory, sources.limit)
    {Map.put(sources.stalls, :memory, memory), %{sources | reads: reads - 1}}
  end

  # Looks where the files are, and reads what changes slowly. If no limit of the memory is found any
  # more, no file can be read now. Then all stays as it was.
  defp look(before) do
    memory = Memory.find()
    stall = Stall.find()
    limit = Memory.limit(memory)

    if limit == nil and before != nil do
      %{before | reads: @reads_between}
    else
      %{cpu: cpu, memory: memory_stall} = Stall.read(stall)
      stalls = %{cpu_stall: percent(cpu), memory_stall: percent(memory_stall)}
      %{memory: memory, limit: limit, stalls: stalls, reads: @reads_between}
    end
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
