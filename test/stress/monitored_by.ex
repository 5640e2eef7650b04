defmodule Penstock.Stress.MonitoredBy do
  # Asks which monitors watch holders, as Observer and LiveDashboard do, while pools in which
  # these holders hold permits are dropped.
  @moduledoc false

  alias Penstock.{Monitored, Native}

  # The most pools that may be alive, or being cleared, at one time. Two makers make pools one
  # after another, and dropped handles are collected soon.
  @most 100

  def run(seconds) do
    {asked, dropped} = Monitored.hammer(seconds * 1_000)
    {made, _spare} = Native.pools_made()
    if made <= @most, do: {:ok, %{asked: asked, dropped: dropped}}, else: {:error, {:made, made, dropped}}
  end
end
