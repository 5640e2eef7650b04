defmodule Penstock.VM.Beat do
  # The times at which the sampler, the reader and the waiter of the VM wake up: the multiples of
  # the interval. They wake up together, since a scheduler that wakes up spins before it sleeps.
  @moduledoc false

  # Returns the next multiple of the interval, in ms of the monotonic clock.
  @spec next(pos_integer) :: integer
  def next(interval_ms) do
    now = System.monotonic_time(:millisecond)
    now + interval_ms - Integer.mod(now, interval_ms)
  end

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
