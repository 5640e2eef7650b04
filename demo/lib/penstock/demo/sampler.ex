defmodule Penstock.Demo.Sampler do
  @moduledoc false

  # Samples the processes and the memory of the attacked VM, from inside that VM.

  alias Penstock.Demo.{Channel, Tally}

  # The samples of this time give one point of the curve: the highest of their counts. So the
  # curve shows each peak that was sampled.
  @bucket_us 10_000

  @memory_every_ms 20

  @spec start_link(Tally.t(), pid()) :: :ok
  def start_link(tally, channel) do
    # The priority is high, because the sampler must also run while the VM is full. At normal
    # priority it would get no turn then.
    :erlang.spawn_opt(fn -> sample_processes(tally, channel, now_us(), 0) end, [:link, priority: :high])

    # Another process calls `:erlang.memory/1`, because that call may wait for all schedulers.
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
