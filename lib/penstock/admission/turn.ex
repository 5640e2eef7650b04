defmodule Penstock.Admission.Turn do
  # Sleeps until a turn that the caller has reserved at a limiter.
  @moduledoc false

  @ns_per_ms 1_000_000

  # ns that a process takes to run again once its timer has fired.
  @wake_up_ns 300_000

  # Sleeps `ns`. A timer fires up to 1 ms late, which is several turns of a quick limiter.
  @spec sleep_exactly(non_neg_integer) :: :ok
  def sleep_exactly(ns), do: sleep_until(:os.perf_counter(:nanosecond) + ns)

  # A timer fires at whole ms of the VM's clock. The caller sleeps until the last of them that
  # leaves it time to wake up, and yields for the rest, little more than 1 ms.
  #
  # The VM's clock may run faster than the system's, by 1 %: then the caller sleeps again.
  defp sleep_until(turn) do
    ns = turn - :os.perf_counter(:nanosecond)
    now = :erlang.monotonic_time(:nanosecond)
    ms = Integer.floor_div(now + ns - @wake_up_ns, @ns_per_ms) + Integer.floor_div(-now, @ns_per_ms)

    if ms > 0 do
      sleep(ms)
      sleep_until(turn)
    else
      yield_until(turn)
    end
  end

  defp yield_until(turn) do
    if :os.perf_counter(:nanosecond) < turn do
      :erlang.yield()
      yield_until(turn)
    else
      :ok
    end
  end

  # ms that one `receive` can wait. The turn may be further away.
  @longest_sleep 0xFFFF_FFFF

  # Sleeps at least `ms`.
  @spec sleep(non_neg_integer) :: :ok
  def sleep(ms) when ms > @longest_sleep do
    sleep(@longest_sleep)
    sleep(ms - @longest_sleep)
  end

  def sleep(ms) do
    receive do
    after
      ms -> :ok
    end
  end
end
