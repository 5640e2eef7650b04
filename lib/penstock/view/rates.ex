defmodule Penstock.View.Rates do
  # Compares two snapshots: what each gate admitted and refused per second between them.
  @moduledoc false

  alias Penstock.View.Snapshot

  @type rates :: %{admitted: float, refused: %{atom => float}}

  # Returns the rates of each gate of the later snapshot, by name. A gate that the earlier one lacks,
  # or that has been opened since, has no rates: all of its totals may be of that time.
  @spec between(Snapshot.t() | nil, Snapshot.t()) :: %{atom => rates}
  def between(nil, _later), do: %{}

  def between(earlier, later) do
    seconds = System.convert_time_unit(later.tick - earlier.tick, :native, :microsecond) / 1_000_000
    before = Map.new(earlier.gates, &{{&1.name, &1.opening}, &1})

    for gate <- later.gates, was = before[{gate.name, gate.opening}], seconds > 0, into: %{} do
      {gate.name,
       %{
         admitted: rate(was.admitted, gate.admitted, seconds),
         refused: Map.new(gate.refused, fn {why, n} -> {why, rate(Map.get(was.refused, why, 0), n, seconds)} end)
       }}
    end
  end

  # A total may seem to fall for an instant, while holders die: see `Penstock.Pool.info/1`.
  defp rate(from, to, seconds), do: max(to - from, 0) / seconds

  @spec refused(rates | nil) :: float
  def refused(nil), do: 0.0
  def refused(%{refused: refused}), do: refused |> Map.values() |> Enum.sum() |> Kernel.*(1.0)
end
