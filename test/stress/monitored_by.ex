defmodule Penstock.Stress.MonitoredBy do
  # Asks a process as Observer and LiveDashboard do, while pools of its permits are dropped.
  @moduledoc false

  alias Penstock.{Monitored, Native}

  # Pools that are alive, or being cleared, at one time: of two makers, whose handles holders
  # collect.
  @most 100

  def run(seconds) do
    {asked, dropped} = Monitored.hammer(seconds * 1_000)
    {made, _spare} = Native.pools_made()
    if made <= @most, do: {:ok, %{asked: asked, dropped: dropped}}, else: {:error, {:made, made, dropped}}
  end
end
