defmodule Penstock.Options.Nearest do
  # Finds the name that a user probably meant by a misspelt name, for the "did you mean" of an
  # error message. Runs in the process that passed the misspelt name.
  #
  # The time is bounded: a search compares at most @most_compared names, by their first @longest
  # characters. It compares names of the same namespace before all others.
  @moduledoc false

  # The most names that a search reads, and the most of these that it compares.
  @most_names 2_000
  @most_compared 200

  # The most characters of a name that a search compares. The time of a comparison grows with the
  # square of this number.
  @longest 32

  # The least likeness, from 0 to 1, at which a name is suggested. Elixir has the same bound for
  # its suggestions of functions.
  @alike 0.77

  # The likeness of two names that differ in their namespace only.
  @same_last 0.9

  # Returns the name that is most like `name` among those that `wanted?` accepts; nil if none of
  # them is alike enough.
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
    # At equal likeness, names of the same namespace come first.
    |> Enum.sort(:desc)
    |> Enum.find_value(fn {_likeness, _same_space, candidate} -> if wanted?.(candidate), do: candidate end)
  end

  # Splits a name into its namespace and its last part: MyApp.Jobs into {"Elixir.MyApp", "Jobs"}.
  defp split(name) do
    text = Atom.to_string(name)

    with [_ | _] = dots <- :binary.matches(text, "."),
         {at, 1} when at + 1 < byte_size(text) <- List.last(dots) do
      {binary_part(text, 0, at), binary_part(text, at + 1, byte_size(text) - at - 1)}
    else
      _no_dot_or_the_last_character -> {"", text}
    end
  end

  # A shared namespace must not make two names alike, so only the last parts count.
  defp likeness({space, last}, {space, its_last}), do: similarity(last, its_last)
  # If the last parts are equal, the user probably forgot an alias, or used a wrong one.
  defp likeness({_space, last}, {_its_space, last}), do: @same_last
  defp likeness({space, last}, {its_space, its_last}), do: min(similarity(space, its_space), similarity(last, its_last))

  defp similarity(one, other), do: String.jaro_distance(cut(one), cut(other))
  defp cut(text), do: String.slice(text, 0, @longest)
end
