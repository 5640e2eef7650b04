defmodule Penstock.Demo.CSV do
  @moduledoc false

  # Formats the figures as CSV for other programs, with a row for each attack and mode. No value
  # needs quotes. A field is empty if the VM died before it reported the figure. The limit of an
  # unguarded run is empty as well, and so are answers where no innocent client asks, and the queue
  # where no server is attacked.

  alias Penstock.Demo.Run

  @columns [
    :attack,
    :mode,
    :limit,
    :peak_processes,
    :system_limit,
    :offered,
    :done,
    :refused,
    :unfinished,
    :ping_p50_us,
    :ping_p99_us,
    :ping_max_us,
    :peak_memory_mb,
    :peak_queue,
    :idle_after_us,
    :asked,
    :answered,
    :answer_p99_us,
    :slowest_us,
    :survived,
    :seconds
  ]

  @spec render([Run.t()]) :: iodata()
  def render(runs) do
    [line(@columns), for(run <- runs, do: line(Enum.map(@columns, &Map.fetch!(run, &1))))]
  end

  defp line(values), do: [values |> Enum.map(&value/1) |> Enum.intersperse(","), "\n"]

  defp value(nil), do: ""
  defp value(float) when is_float(float), do: :erlang.float_to_binary(float, decimals: 3)
  defp value(other), do: to_string(other)
end
