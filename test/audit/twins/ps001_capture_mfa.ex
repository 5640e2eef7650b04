# expects: nothing
defmodule Search.Indexer do
  @moduledoc "Puts documents into the index."

  require Logger

  def index_all(documents) do
    Logger.debug("indexing #{length(documents)} documents")
    Enum.each(documents, &index/1)
  end

  def index_later(documents), do: Task.start(__MODULE__, :index_all, [documents])

  def index(document) do
    words = document.text |> String.downcase() |> String.split(~r/\W+/, trim: true)
    Enum.each(words, &:ets.insert(:search_index, {&1, document.id}))
  end

  def find(word), do: :ets.lookup(:search_index, String.downcase(word))
end
