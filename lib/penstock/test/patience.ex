defmodule Penstock.Test.Patience do
  # Waits for what has no message, such as a permit of a dead process that comes back.
  @moduledoc false

  @longest_ms 20

  # Returns the time, in ms, at which something is over that takes `ms` from now.
  @spec deadline(timeout) :: integer | :infinity
  def deadline(:infinity), do: :infinity
  def deadline(ms), do: now() + ms

  @spec over?(integer | :infinity) :: boolean
  def over?(deadline), do: deadline != :infinity and now() >= deadline

  # Calls `fun` until it returns an empty list or the time is over. Returns the last list.
  @spec until_empty(Penstock.work([term]), integer | :infinity) :: [term]
  def until_empty(fun, deadline), do: until_empty(fun, deadline, 0)

  defp until_empty(fun, deadline, pause) do
    late? = over?(deadline)

    case fun.() do
      [] -> []
      rows when late? -> rows
      _rows -> again(fun, deadline, pause)
    end
  end

  # Most things are over within microseconds.
  defp again(fun, deadline, 0) do
    :erlang.yield()
    until_empty(fun, deadline, 1)
  end

  defp again(fun, deadline, pause) do
    receive after: (pause -> :ok)
    until_empty(fun, deadline, min(2 * pause, @longest_ms))
  end

  defp now, do: System.monotonic_time(:millisecond)
end
