# expects: nothing
defmodule Report.Builder do
  @moduledoc "Renders the first chapters of one book."

  @first 3

  def build(book) do
    book.chapters
    |> Enum.take(@first)
    |> Enum.map(fn chapter ->
      Task.async(fn -> render(book, chapter) end)
    end)
    |> Enum.map(&Task.await(&1, :infinity))
    |> IO.iodata_to_binary()
  end

  defp render(book, chapter) do
    ["# ", book.title, "\n\n## ", chapter.title, "\n\n", chapter.text, "\n"]
  end
end
