defmodule Penstock.Options.Weight do
  # Tells whether a term is small, without a walk through all of it. Runs in the process that
  # passed the term.
  #
  # `:erlang.external_size/1` is no replacement. It does not yield, and it visits a shared subterm
  # once for each path to that subterm. For a term that shares subterms on 100 levels it never
  # ends in practice.
  #
  # The walk of this module stops at a bound of units. Each term weighs at least one unit, so the
  # walk visits at most as many terms as the bound has units.
  @moduledoc false

  # 2^8192, an integer of 1 KiB. A comparison of any integer with it is quick, because the VM
  # compares the lengths first.
  @longest Bitwise.bsl(1, 8_192)

  # Returns `true` if the term has at most `most` bytes in the external term format. `most` must
  # be at most 1_024, because no integer of more than 1 KiB counts as light. The call of
  # `external_size/1` is quick, because the term is light.
  @spec fits?(term, pos_integer) :: boolean
  def fits?(term, most), do: light?(term, most) and :erlang.external_size(term) <= most

  # Returns `true` if the term weighs at most `most` units. A term never weighs more than its
  # bytes in the external term format, so `false` proves that it has more than `most` bytes.
  @spec light?(term, pos_integer) :: boolean
  def light?(term, most), do: left(term, most) >= 0

  # Returns the units that are left of `left` after the term; a negative number if the term weighs
  # more than `left`.
  defp left(_term, left) when left < 0, do: left
  defp left(term, left) when is_bitstring(term), do: left - byte_size(term) - 1
  # A cell whose head is a non-empty list weighs one unit more than its head, because that inner
  # list has at least 3 bytes of its own. Any other cell weighs no more than its head, because the
  # external format of a charlist has one byte for each character.
  defp left([[_ | _] = head | tail], left), do: left(tail, left(head, left - 1))
  defp left([head | tail], left), do: left(tail, left(head, left))
  defp left(term, left) when is_tuple(term), do: tuple(term, 0, tuple_size(term), left - 1)

  defp left(term, left) when is_map(term) do
    if map_size(term) > left, do: -1, else: pairs(:maps.next(:maps.iterator(term)), left - 1)
  end

  defp left(term, _left) when is_integer(term) and (term >= @longest or term <= -@longest), do: -1
  # The VM knows the size of an integer without a look at its digits.
  defp left(term, left) when is_integer(term), do: left - div(:erlang.external_size(term), 3)

  defp left(term, left) when is_function(term) do
    {:env, env} = :erlang.fun_info(term, :env)
    # The environment counts, because it may be large: a fun that was typed in a shell has the
    # whole context of that shell. An external fun has the environment `[]`.
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
