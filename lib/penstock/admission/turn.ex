defmodule Penstock.Admission.Turn do
  # Sleeps until the turn that the caller has reserved at a limiter. Runs in the caller.
  @moduledoc false

  @ns_per_ms 1_000_000

  # The time in ns within which a process is expected to run again after its timer has fired.
  @wake_up_ns 300_000

  # Sleeps exactly `ns`. A timer alone would fire up to 1 ms late, in which a quick limiter has
  # several turns.
  @spec sleep_exactly(non_neg_integer) :: :ok
  def sleep_exactly(ns), do: sleep_until(:os.perf_counter(:nanosecond) + ns)

  # A timer fires at a whole ms of the VM's clock. The caller sleeps until the last whole ms that
  # is at least @wake_up_ns before the turn. The caller then yields until the turn, for at most
  # about 1.3 ms.
  #
  # The VM's clock may run up to 1 % faster than the system's, so the caller may wake too early.
  # The caller then sleeps again.
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

  # The most ms that one `receive` can wait: about 49 days. A turn may be further away.
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
