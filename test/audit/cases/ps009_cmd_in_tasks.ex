# expects: PS001 high line 7, PS009 high line 8
defmodule Video.Encoder do
  @moduledoc "Encodes all videos of a folder."

  def encode(paths) do
    for path <- paths do
      Task.start(fn ->
        System.cmd("ffmpeg", ["-i", path, Path.rootname(path) <> ".mp4"])
      end)
    end
  end
end
