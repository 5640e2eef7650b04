defmodule Penstock.Bench.Stats do
  @moduledoc false

  def median(values), do: quantile(values, 0.5)

  def quantile(values, q) do
    sorted = Enum.sort(values)
    at = q * (length(sorted) - 1)
    low = Enum.at(sorted, floor(at))
    high = Enum.at(sorted, ceil(at))
    low + (high - low) * (at - floor(at))
  end
end
