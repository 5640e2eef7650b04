defmodule Penstock.Demo.Sampler do
  @moduledoc false

  # Looks at the VM from inside while it is attacked.

  alias Penstock.Demo.{Channel, Tally}

  # A bucket gives one point of the curve, the highest of its counts: enough for a chart, and a
  # maximum hides nothing.
  @bucket_us 10_000

  @memory_every_ms 20

  @spec start_link(Tally.t(), pid()) :: :ok
  def start_link(tally, channel) do
    # At normal priority, the sampler would sleep through the moments that it must see.
    :erlang.spawn_opt(fn -> look(tally, channel, now_us(), 0) end, [:link, priority: :high])

    # A process of its own: `:erlang.memory/1` asks all schedulers and may wait for them.
    :erlang.spawn_opt(fn -> weigh(channel) end, [:link, priority: :high])
    :ok
  end

  defp look(tally, channel, bucket_start, highest) do
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
      1 -> look(tally, channel, bucket_start, highest)
    end
  end

  defp weigh(channel) do
    Channel.report(channel, {:memory, now_us(), :erlang.memory(:total)})

    receive do
    after
      @memory_every_ms -> weigh(channel)
    end
  end

  defp now_us, do: System.monotonic_time(:microsecond)
end
