defmodule Penstock.Stress.MonitoredBy do
  # Asks which processes and pools monitor some holders, as Observer and LiveDashboard do.
  # Meanwhile other processes drop pools of which these holders have permits.
  @moduledoc false

  alias Penstock.{Monitored, Native}

  # The most pools that can exist at one time. Two makers make pools one after another, and the VM
  # soon collects the handles of dropped pools.
  @most 100

  def run(seconds) do
    {asked, dropped} = Monitored.hammer(seconds * 1_000)
    {made, _spare} = Native.pools_made()
    if made <= @most, do: {:ok, %{asked: asked, dropped: dropped}}, else: {:error, {:made, made, dropped}}
  end
end
