# expects: nothing
defmodule Links.Checker do
  @moduledoc "Finds the links of a page that lead nowhere."

  def dead(links) do
    links
    |> Task.async_stream(&status/1, max_concurrency: 10, timeout: 20_000, on_timeout: :kill_task)
    |> Enum.zip(links)
    |> Enum.flat_map(fn
      {{:ok, :dead}, link} -> [link]
      {{:exit, :timeout}, link} -> [link]
      _alive -> []
    end)
  end

  defp status(link) do
    case Req.get(link) do
      {:ok, _response} -> :alive
      {:error, _reason} -> :dead
    end
  end
end
