defmodule Penstock.Demo.Wrapped do
  @moduledoc false

  @columns 80

  @doc """
  Returns `text` in lines of at most 80 columns.

      iex> "word " |> String.duplicate(17) |> String.trim() |> Penstock.Demo.Wrapped.lines() |> IO.iodata_length()
      85

  """
  @spec lines(String.t()) :: iodata()
  def lines(text) do
    text |> String.split(" ") |> Enum.chunk_while([], &add/2, &{:cont, line(&1), []})
  end

  # `words` holds the words of the current line, newest first.
  defp add(word, words) do
    if IO.iodata_length(line([word | words])) > @columns + 1,
      do: {:cont, line(words), [word]},
      else: {:cont, [word | words]}
  end

  defp line(words), do: [words |> Enum.reverse() |> Enum.intersperse(" "), "\n"]
end
