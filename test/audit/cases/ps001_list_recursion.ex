# expects: PS001 high line 10
defmodule Media.Thumbnails do
  @moduledoc "Makes small pictures of the uploaded ones."

  @sizes [64, 256]

  def make([]), do: :ok

  def make([picture | rest]) do
    Task.start(fn -> resize(picture, @sizes) end)
    make(rest)
  end

  defp resize(picture, sizes) do
    for size <- sizes do
      target = Path.rootname(picture.path) <> "_#{size}.jpg"
      File.cp!(picture.path, target)
      target
    end
  end
end
