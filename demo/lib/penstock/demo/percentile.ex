defmodule Penstock.Demo.Percentile do
  @moduledoc false

  @doc """
  Returns the values at the given percentiles, by nearest rank. So each result is one of `values`.

      iex> Penstock.Demo.Percentile.of([30, 10, 20], [50, 99, 100])
      [20, 30, 30]

  """
  @spec of([number(), ...], [number()]) :: [number()]
  def of([_ | _] = values, percentiles) do
    sorted = values |> Enum.sort() |> List.to_tuple()
    count = tuple_size(sorted)
    for percentile <- percentiles, do: elem(sorted, rank(percentile, count) - 1)
  end

  defp rank(percentile, count), do: max(1, ceil(percentile * count / 100))
end
