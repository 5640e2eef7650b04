defmodule Penstock.Options.Nearest do
  # The name that a misspelt one was meant to be, for an error message.
  #
  # The time is bounded by the number of names and of characters that are compared. Names of the
  # same namespace come first.
  @moduledoc false

  # Names that are looked at, and those of them that are compared.
  @most_names 2_000
  @most_compared 200

  # Characters of a name that are compared. A comparison takes the square of that.
  @longest 32

  # Names less alike than this were not meant. Elixir suggests functions by the same number.
  @alike 0.77

  # How alike two names are of which only the last part is the same.
  @same_last 0.9

  # Returns the nearest of the names that `wanted?` accepts, or nil.
  @spec find(atom, Enumerable.t(), (atom -> boolean)) :: atom | nil
  def find(name, names, wanted?) do
    {space, last} = split(name)

    {same, other} =
      names
      |> Stream.take(@most_names)
      |> Stream.reject(&(&1 == name))
      |> Stream.map(&{&1, split(&1)})
      |> Enum.split_with(fn {_name, {its_space, _last}} -> its_space == space end)

    (same ++ other)
    |> Enum.take(@most_compared)
    |> Enum.map(fn {candidate, {its_space, _last} = its} ->
      {likeness({space, last}, its), its_space == space, candidate}
    end)
    |> Enum.filter(fn {likeness, _same_space, _candidate} -> likeness >= @alike end)
    # Names of the same namespace come before other names that are as near.
    |> Enum.sort(:desc)
    |> Enum.find_value(fn {_likeness, _same_space, candidate} -> if wanted?.(candidate), do: candidate end)
  end

  # Of MyApp.Jobs: {"Elixir.MyApp", "Jobs"}.
  defp split(name) do
    text = Atom.to_string(name)

    with [_ | _] = dots <- :binary.matches(text, "."),
         {at, 1} when at + 1 < byte_size(text) <- List.last(dots) do
      {binary_part(text, 0, at), binary_part(text, at + 1, byte_size(text) - at - 1)}
    else
      _no_dot_or_the_last_character -> {"", text}
    end
  end

  # A namespace that both names have says nothing.
  defp likeness({space, last}, {space, its_last}), do: distance(last, its_last)
  # An alias was forgotten, or the wrong one was used.
  defp likeness({_space, last}, {_its_space, last}), do: @same_last
  defp likeness({space, last}, {its_space, its_last}), do: min(distance(space, its_space), distance(last, its_last))

  defp distance(one, other), do: String.jaro_distance(cut(one), cut(other))
  defp cut(text), do: String.slice(text, 0, @longest)
end
