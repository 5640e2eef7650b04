# expects: nothing
defmodule Fonts.Loader do
  @moduledoc "Reads all fonts that a document names."

  @opts [max_concurrency: 8, ordered: false]

  def load(names, supervisor) do
    supervisor
    |> Task.Supervisor.async_stream_nolink(names, &read/1, @opts)
    |> Enum.flat_map(fn
      {:ok, {:ok, font}} -> [font]
      _missing -> []
    end)
  end

  defp read(name), do: File.read(Path.join("/usr/share/fonts", name))
end
