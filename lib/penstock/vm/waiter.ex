defmodule Penstock.VM.Waiter do
  # A process of normal priority that sleeps, and measures how late it runs. That is how long a
  # process waits for a scheduler. The waiter is linked to the sampler. The sampler reads the figure
  # from atomics, since a message would wake up a scheduler.
  @moduledoc false

  alias Penstock.VM.Beat

  @typedoc "The time at which the waiter is to run next, and the µs for which it last waited."
  @opaque t :: :atomics.atomics_ref()

  @due 1
  @delay 2

  @spec start_link(pos_integer) :: t
  def start_link(interval_ms) do
    figures = :atomics.new(2, signed: true)
    due = set_due(figures, Beat.next(interval_ms))
    spawn_link(fn -> wait(figures, due, interval_ms) end)
    figures
  end

  # Returns the µs for which the waiter waited last, or for which it has waited by now if that is
  # longer.
  @spec delay(t) :: non_neg_integer
  def delay(figures), do: max(:atomics.get(figures, @delay), now() - :atomics.get(figures, @due)) |> max(0)

  @doc false
  def wait(figures, due, interval_ms) do
    Beat.sleep_until(due)
    :atomics.put(figures, @delay, max(now() - due * 1_000, 0))
    # A delay stays for nearly an interval, so that the sampler sees it.
    # The call by the name of the module goes to its newest code, after an upgrade.
    __MODULE__.wait(figures, set_due(figures, Beat.full_interval(interval_ms)), interval_ms)
  end

  defp set_due(figures, due) do
    :atomics.put(figures, @due, due * 1_000)
    due
  end

  defp now, do: System.monotonic_time(:microsecond)
end
