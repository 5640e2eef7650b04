defmodule Penstock.Demo.Pace do
  @moduledoc false

  # Calls a function at a steady rate. A process that was late makes up for it, so the number of
  # calls up to a time is the same on each machine that is fast enough.

  @tick_ms 1

  @type t :: pid()

  @doc "Starts a process that calls `fun` `per_ms` times a ms on average, from `go/1` to `stop/1`."
  @spec start(fun(), number()) :: t()
  def start(fun, per_ms) do
    spawn(fn ->
      receive do: (:go -> :ok)
      repeat(fun, per_ms, :infinity)
    end)
  end

  @spec go(t()) :: :ok
  def go(pace) do
    send(pace, :go)
    :ok
  end

  @doc "Returns when the process has ended, after its current calls."
  @spec stop(t()) :: :ok
  def stop(pace) do
    monitor = Process.monitor(pace)
    send(pace, :stop)
    receive do: ({:DOWN, ^monitor, :process, ^pace, _reason} -> :ok)
  end

  @doc "Calls `fun` `per_ms` times a ms on average, and `most` times in all."
  @spec repeat(fun(), number(), pos_integer() | :infinity) :: :ok
  def repeat(fun, per_ms, most), do: repeat(fun, per_ms, most, now_us(), 0)

  defp repeat(_fun, _per_ms, most, _began, most), do: :ok

  defp repeat(fun, per_ms, most, began, calls) do
    # An atom is larger than each number.
    due = min(trunc((now_us() - began) / 1_000 * per_ms), most)
    for _ <- (calls + 1)..due//1, do: fun.()

    receive do
      :stop -> :ok
    after
      if(due == most, do: 0, else: @tick_ms) -> repeat(fun, per_ms, most, began, due)
    end
  end

  defp now_us, do: System.monotonic_time(:microsecond)
end
