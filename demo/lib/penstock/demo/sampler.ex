defmodule Penstock.Demo.Sampler do
  @moduledoc false

  # Samples the processes and the memory of the attacked VM, from inside that VM.

  alias Penstock.Demo.{Channel, Tally}

  # Each bucket gives one point of the curve: its highest count. So the curve shows each peak.
  @bucket_us 10_000

  @memory_every_ms 20

  @spec start_link(Tally.t(), pid()) :: :ok
  def start_link(tally, channel) do
    # The sampler must record the time in which the VM is full. At normal priority it would get no
    # turn then, so its priority is high.
    :erlang.spawn_opt(fn -> sample_processes(tally, channel, now_us(), 0) end, [:link, priority: :high])

    # `:erlang.memory/1` asks all schedulers and may wait for them, so it has a process of its
    # own.
    :erlang.spawn_opt(fn -> sample_memory(channel) end, [:link, priority: :high])
    :ok
  end

  defp sample_processes(tally, channel, bucket_start, highest) do
    highest = max(highest, :erlang.system_info(:process_count))
    now = now_us()

    {bucket_start, highest} =
      if now - bucket_start >= @bucket_us do
        Channel.report(channel, {:processes, now, highest, Tally.read(tally)})
        {now, 0}
      else
        {bucket_start, highest}
      end

    receive do
    after
      1 -> sample_processes(tally, channel, bucket_start, highest)
    end
  end

  defp sample_memory(channel) do
    Channel.report(channel, {:memory, now_us(), :erlang.memory(:total)})

    receive do
    after
      @memory_every_ms -> sample_memory(channel)
    end
  end

  defp now_us, do: System.monotonic_time(:microsecond)
end
