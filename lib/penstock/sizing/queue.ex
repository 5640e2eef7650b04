defmodule Penstock.Sizing.Queue do
  @moduledoc false
  # The formulas of Erlang for callers that arrive at random and hold permits for random times. `load` is the
  # number of permits in use if there are always enough.

  @doc "Returns the part of the callers that `limit` refuses if none waits (Erlang B)."
  def refused(limit, load), do: refused(1, limit, load, 1.0)

  # Each step adds a permit. Far beyond the load the part becomes 0.0, and stays it.
  defp refused(n, limit, _load, part) when n > limit or part == 0.0, do: part
  defp refused(n, limit, load, part), do: refused(n + 1, limit, load, more(n, load, part))

  # Returns the part that n permits refuse, from that of n - 1 permits.
  defp more(n, load, part), do: load * part / (n + load * part)

  @doc "Returns the waits at `limit` of callers that hold permits for `hold` ms."
  def waits(limit, load, _hold) when load >= limit,
    do: %{use: 1.0, waiting: 1.0, mean: :infinity, p95: :infinity, p99: :infinity}

  def waits(limit, load, hold) do
    waiting = waiting(limit, load, refused(limit, load))
    # A queue shrinks by one caller in this time, in ms, newcomers included.
    gain = hold / (limit - load)

    %{
      use: load / limit,
      waiting: waiting,
      mean: waiting * gain,
      p95: quantile(waiting, 0.05, gain),
      p99: quantile(waiting, 0.01, gain)
    }
  end

  # Erlang C, from Erlang B.
  defp waiting(limit, load, refused), do: limit * refused / (limit - load * (1 - refused))

  # The waits of callers that wait are spread exponentially.
  defp quantile(waiting, beyond, _gain) when waiting <= beyond, do: 0.0
  defp quantile(waiting, beyond, gain), do: gain * :math.log(waiting / beyond)

  @doc "Returns the least limit at which callers wait for at most `wait` ms on average."
  def least_for_wait(load, hold, wait) do
    least(load, fn limit, refused ->
      limit > load and waiting(limit, load, refused) * hold / (limit - load) <= wait
    end)
  end

  @doc "Returns the least limit that refuses at most the part `most` of callers that do not wait."
  def least_for_refused(load, most), do: least(load, fn _limit, refused -> refused <= most end)

  defp least(load, enough?), do: least(1, load, more(1, load, 1.0), enough?)

  defp least(limit, load, refused, enough?) do
    if enough?.(limit, refused),
      do: limit,
      else: least(limit + 1, load, more(limit + 1, load, refused), enough?)
  end
end
