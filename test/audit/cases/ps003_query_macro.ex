# expects: PS003 high line 6
defmodule Parts.Count do
  @moduledoc "Counts the parts of a tree; each branch has a process of its own."

  def count(tree) do
    spawn(fn -> below(tree) end)
  end

  defp below(tree), do: count(Shop.Repo.get(:parts, tree.id))
end
