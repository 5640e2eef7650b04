defmodule Penstock.Stress.Crashes do
  # Counts reports of crashes: workers are killed all the time, so one that fails would not be missed.
  @moduledoc false

  def watch do
    :persistent_term.put(__MODULE__, :counters.new(1, []))
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{level: :error})
  end

  # A callback of logger.
  def log(_event, _config), do: :counters.add(:persistent_term.get(__MODULE__), 1, 1)

  def check do
    case :counters.get(:persistent_term.get(__MODULE__), 1) do
      0 -> :ok
      count -> {:error, {:crashes, count}}
    end
  end
end
