# expects: nothing
defmodule Ants.Colony do
  @moduledoc "An ant looks at a field, and then at the two next to it, down to a depth."

  @depth 8

  def explore(field, depth \\ 0)
  def explore(_field, depth) when depth >= @depth, do: :ok

  def explore(field, depth) do
    visit(field)
    explore({field, :left}, depth + 1)
    explore({field, :right}, depth + 1)
  end

  defp visit(field) do
    :ets.insert(:fields, {field, System.monotonic_time()})
  end
end
