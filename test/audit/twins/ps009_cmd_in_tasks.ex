# expects: nothing
defmodule Video.Encoder do
  @moduledoc "Encodes all videos of a folder, two at a time."

  def encode(paths) do
    paths
    |> Task.async_stream(
      fn path ->
        System.cmd("ffmpeg", ["-i", path, Path.rootname(path) <> ".mp4"])
      end,
      max_concurrency: 2,
      timeout: :infinity
    )
    |> Stream.run()
  end
end
