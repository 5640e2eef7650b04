# expects: PS001 high line 9
defmodule Report.Builder do
  @moduledoc "Renders the chapters of many books."

  def build(books) do
    books
    |> Enum.flat_map(fn book ->
      Enum.map(book.chapters, fn chapter ->
        Task.async(fn -> render(book, chapter) end)
      end)
    end)
    |> Enum.map(&Task.await(&1, :infinity))
    |> IO.iodata_to_binary()
  end

  defp render(book, chapter) do
    ["# ", book.title, "\n\n## ", chapter.title, "\n\n", chapter.text, "\n"]
  end
end
