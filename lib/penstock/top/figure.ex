defmodule Penstock.Top.Figure do
  # Writes numbers in few columns.
  @moduledoc false

  @steps [{1.0e18, "E"}, {1.0e15, "P"}, {1.0e12, "T"}, {1.0e9, "G"}, {1.0e6, "M"}, {1.0e3, "k"}]

  # Numbers below this are written in full.
  @in_full 10_000

  # Returns a number in at most five columns, such as `9999`, `12.3k` or `4.0G`.
  @spec count(number | :infinity | nil) :: String.t()
  def count(nil), do: "-"
  def count(:infinity), do: "inf"
  def count(n) when n < @in_full, do: Integer.to_string(round(n))

  def count(n) do
    # 999.5 of a unit would round up to four digits, so it is 1.0 of the next unit.
    {step, unit} = Enum.find(@steps, fn {step, _unit} -> n >= step * 0.9995 end)
    scaled = n / step
    if scaled >= 99.95, do: "#{round(scaled)}#{unit}", else: "#{one_decimal(scaled)}#{unit}"
  end

  # Returns a rate per second; `-` if it is not known yet.
  @spec rate(float | nil) :: String.t()
  def rate(nil), do: "-"
  def rate(rate) when rate == 0, do: "0"
  def rate(rate) when rate < 9.95, do: one_decimal(rate)
  def rate(rate), do: count(rate)

  @spec percent(number) :: String.t()
  def percent(share), do: "#{round(share * 100)}%"

  # Returns a time in at most two units.
  @spec time(non_neg_integer | :infinity) :: String.t()
  def time(:infinity), do: "no end"
  def time(ms) when ms < 1_000, do: "#{ms} ms"
  def time(ms) when ms < 60_000, do: "#{one_decimal(ms / 1_000)} s"
  def time(ms) when ms < 3_600_000, do: "#{div(ms, 60_000)} m #{rem(div(ms, 1_000), 60)} s"
  def time(ms) when ms < 86_400_000, do: "#{div(ms, 3_600_000)} h #{rem(div(ms, 60_000), 60)} m"
  def time(ms), do: "#{div(ms, 86_400_000)} d #{rem(div(ms, 3_600_000), 24)} h"

  # Returns the inside of a bar, `width` columns wide. A use above 0 has at least one mark.
  @spec bar(number, non_neg_integer) :: String.t()
  def bar(share, width) do
    marks = share |> Kernel.*(width) |> round() |> min(width)
    marks = if share > 0, do: max(marks, min(1, width)), else: 0
    String.duplicate("|", marks) <> String.duplicate(" ", width - marks)
  end

  defp one_decimal(number), do: :erlang.float_to_binary(number * 1.0, decimals: 1)
end
