defmodule Penstock.Options.Weight do
  # Bounds the size of a term before anything walks all of it.
  #
  # `:erlang.external_size/1` does not yield, and of a term that is shared 100 times over it never
  # ends. This walk stops at its bound: each term weighs at least one unit, so it visits no more
  # terms than the bound has units.
  @moduledoc false

  # 2^8192, which has 1 KiB. The VM compares integers by their lengths first.
  @longest Bitwise.bsl(1, 8_192)

  # Returns `true` if the term has at most `most` bytes in the external term format. `most` is at
  # most 1_024.
  @spec fits?(term, pos_integer) :: boolean
  def fits?(term, most), do: light?(term, most) and :erlang.external_size(term) <= most

  # Returns `true` if the walk reaches the end of the term within `most` units. A term in the
  # external format is never lighter.
  @spec light?(term, pos_integer) :: boolean
  def light?(term, most), do: left(term, most) >= 0

  # A negative number if the term weighs more than `left`.
  defp left(_term, left) when left < 0, do: left
  defp left(term, left) when is_bitstring(term), do: left - byte_size(term) - 1
  # A list that begins with a list has at least 5 bytes of its own; a cell of a charlist has only
  # the character.
  defp left([[_ | _] = head | tail], left), do: left(tail, left(head, left - 1))
  defp left([head | tail], left), do: left(tail, left(head, left))
  defp left(term, left) when is_tuple(term), do: tuple(term, 0, tuple_size(term), left - 1)

  defp left(term, left) when is_map(term) do
    if map_size(term) > left, do: -1, else: pairs(:maps.next(:maps.iterator(term)), left - 1)
  end

  defp left(term, _left) when is_integer(term) and (term >= @longest or term <= -@longest), do: -1
  # The size of one integer is known without a look at its digits.
  defp left(term, left) when is_integer(term), do: left - div(:erlang.external_size(term), 3)

  defp left(term, left) when is_function(term) do
    {:env, env} = :erlang.fun_info(term, :env)
    # A fun of the shell has its whole context there, and an external one has `[]`.
    left(env, left - 1)
  end

  defp left(_term, left), do: left - 1

  defp tuple(_tuple, _at, _size, left) when left < 0, do: left
  defp tuple(_tuple, size, size, left), do: left
  defp tuple(tuple, at, size, left), do: tuple(tuple, at + 1, size, left(elem(tuple, at), left))

  defp pairs(_next, left) when left < 0, do: left
  defp pairs(:none, left), do: left
  defp pairs({key, value, iterator}, left), do: pairs(:maps.next(iterator), left(value, left(key, left)))
end
