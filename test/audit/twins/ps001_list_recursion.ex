# expects: nothing
defmodule Media.Thumbnails do
  @moduledoc "Makes small pictures of the uploaded ones, one by one."

  @sizes [64, 256]

  def make([]), do: :ok

  def make([picture | rest]) do
    task = Task.async(fn -> resize(picture, @sizes) end)
    Task.await(task, 30_000)
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
