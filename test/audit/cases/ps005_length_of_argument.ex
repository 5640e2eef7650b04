# expects: PS005 high line 6
defmodule Weather.Stations do
  @moduledoc "Asks all stations of a region at once."

  def read(stations) do
    Task.async_stream(stations, &ask/1, max_concurrency: length(stations))
    |> Enum.map(fn {:ok, reading} -> reading end)
    |> average()
  end

  defp ask(station), do: Req.get!("https://weather.example.com/#{station}").body

  defp average([]), do: nil
  defp average(readings), do: Enum.sum(readings) / length(readings)
end
