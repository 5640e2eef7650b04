defmodule Penstock.Admission.BanReport do
  # Lists the bans of a list, in several native calls, each of bounded length.
  #
  # Keys and reasons come in the external term format. A page shows some of many bans, so `last/2`
  # decodes only those that it returns, and never holds more than these and one page of the walk.
  @moduledoc false

  alias Penstock.Native

  @type ban :: %{key: term, until_ms: pos_integer | :infinity, reason: term, level: non_neg_integer}

  # Returns all bans, those that end last first.
  @spec all(atom) :: [ban] | :no_ban
  def all(name) do
    with found when is_list(found) <- walk(name, 0, [], &:lists.reverse/2),
         do: found |> Enum.reverse() |> sort() |> Enum.map(&decode/1)
  end

  # Returns the `n` bans that end last, in the order of `all/1`.
  @spec last(atom, pos_integer) :: [ban] | :no_ban
  def last(name, n) do
    with kept when is_list(kept) <- walk(name, 0, [], &keep(&2, &1, n)), do: Enum.map(kept, &decode/1)
  end

  # Calls `add` with the bans of each page and what it returned for the pages before.
  defp walk(name, from, added, add) do
    case Native.ban_list(name, from) do
      {:done, found} -> add.(found, added)
      {next, found} -> walk(name, next, add.(found, added), add)
      :no_ban -> :no_ban
    end
  end

  # If two bans end at the same time, the report keeps the one that the walk met first.
  defp keep(kept, found, n) do
    case better(kept, found, n) do
      [] -> kept
      better -> Enum.take(sort(kept ++ better), n)
    end
  end

  defp better(kept, found, n) when length(kept) < n, do: found

  defp better(kept, found, _n) do
    {_key, least, _reason, _level} = List.last(kept)
    for {_key, until_ms, _reason, _level} = ban <- found, until_ms > least, do: ban
  end

  # In the order of terms the atom `:infinity` is greater than any number, so bans without end
  # come first.
  defp sort(found), do: Enum.sort_by(found, &elem(&1, 1), :desc)

  defp decode({key, until_ms, reason, level}),
    do: %{key: kept(key), until_ms: until_ms, reason: :erlang.binary_to_term(reason), level: level}

  # A number is the hash of a key that was too large to be kept.
  defp kept(hash) when is_integer(hash), do: {:hash, hash}
  defp kept(external), do: :erlang.binary_to_term(external)
end
