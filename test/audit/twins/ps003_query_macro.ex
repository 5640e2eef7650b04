# expects: nothing
defmodule Parts.Count do
  @moduledoc "Counts the parts of a person; count/1 of the query is one of the database."
  import Ecto.Query

  def count(person) do
    [Task.async(fn -> open(person) end), Task.async(fn -> closed(person) end)]
    |> Task.await_many()
    |> Enum.sum()
  end

  defp open(person), do: Shop.Repo.all(from(part in "parts", where: part.owner == ^person.id, select: count(part.id)))
  defp closed(person), do: "parts" |> where([part], part.closer == ^person.id) |> select([part], count(part.id))
end
