defmodule Penstock.VM.Beat do
  # The times at which the sampler, the reader and the waiter of the VM wake up: the multiples of
  # the interval. They wake up together, since a scheduler that wakes up spins before it sleeps.
  @moduledoc false

  # A process that is late by no more than this keeps to the beat. No level begins at a smaller delay.
  @almost_ms 4

  # Returns the next multiple of the interval, in ms of the monotonic clock.
  @spec next(pos_integer) :: integer
  def next(interval_ms), do: after_instant(now(), interval_ms)

  # Returns the first multiple that is almost an interval after this instant, or later.
  @spec full_interval(pos_integer) :: integer
  def full_interval(interval_ms) do
    now = now()
    max(after_instant(now, interval_ms), after_instant(now + interval_ms - @almost_ms - 1, interval_ms))
  end

  defp after_instant(instant, interval_ms), do: instant + interval_ms - Integer.mod(instant, interval_ms)

  defp now, do: System.monotonic_time(:millisecond)

  # Starts a timer, which sends `{:timeout, timer, :beat}` at an instant in ms of that clock.
  @spec start_timer(integer) :: reference
  def start_timer(due), do: :erlang.start_timer(due, self(), :beat, abs: true)

  # Sleeps until an instant in ms of that clock.
  @spec sleep_until(integer) :: :ok
  def sleep_until(due) do
    timer = start_timer(due)
    receive do: ({:timeout, ^timer, :beat} -> :ok)
  end
end
