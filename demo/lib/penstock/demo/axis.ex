defmodule Penstock.Demo.Axis do
  @moduledoc false

  # Round numbers for the ticks of a chart.

  @doc """
  Returns ticks from 0 to at most `max`, with at most `steps` steps of 1, 2 or 5 times a power of
  ten.

      iex> Penstock.Demo.Axis.ticks(32_768, 8)
      [0, 5000, 10000, 15000, 20000, 25000, 30000]

      iex> Penstock.Demo.Axis.ticks(1.3, 8)
      [0, 0.2, 0.4, 0.6, 0.8, 1, 1.2]

  """
  @spec ticks(number(), pos_integer()) :: [number()]
  def ticks(max, steps) when max > 0 do
    step = step(max / steps)
    for n <- 0..floor(max / step), do: plain(n * step)
  end

  # The ratio of its ends below which a logarithmic axis is short.
  @short 1_000

  @doc """
  Returns ticks for a logarithmic axis from `min` to `max`: powers of ten, and 2 and 5 times them if
  the axis is short.

      iex> Penstock.Demo.Axis.decades(1, 1_000)
      [1, 10, 100, 1000]

      iex> Penstock.Demo.Axis.decades(30, 400)
      [50, 100, 200]

  """
  @spec decades(number(), number()) :: [pos_integer()]
  def decades(min, max) when min > 0 and max > min do
    factors = if max / min < @short, do: [1, 2, 5], else: [1]

    for power <- 0..ceil(:math.log10(max)),
        factor <- factors,
        tick = factor * 10 ** power,
        tick >= min and tick <= max,
        do: tick
  end

  # Returns the smallest round number that is at least `raw`.
  defp step(raw) do
    magnitude = :math.pow(10, floor(:math.log10(raw)))
    magnitude * Enum.find([1, 2, 5], 10, &(magnitude * &1 >= raw))
  end

  # Rounds, because multiplied fractions have wrong last digits. Returns an integer where
  # possible.
  defp plain(number) do
    rounded = Float.round(number, 6)
    if rounded == trunc(rounded), do: trunc(rounded), else: rounded
  end
end
