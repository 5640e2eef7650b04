defmodule Penstock.Options.Show do
  # Makes the text of a term for a message, in bounded time and space. Runs in the process that
  # makes the message.
  #
  # `inspect/2` alone has no such bound. Before it applies its `:limit`, it sorts all keys of a
  # map, writes all digits of an integer, and walks all of a list that looks like keywords. So
  # this module first cuts a term that weighs more than @small.
  @moduledoc false

  alias Penstock.Options.Weight

  # Stands for a part that was cut off. `inspect/2` shows the field `text`.
  defmodule Cut do
    @moduledoc false
    defstruct text: "..."

    defimpl Inspect do
      def inspect(%{text: text}, _opts), do: text
    end
  end

  @opts [limit: 10, printable_limit: 100]

  # Terms up to this weight are not cut. Penstock.Options.Weight defines the unit.
  @small 1_024

  # The most that a cut keeps of a heavier term: terms in all, elements of each list, tuple or
  # map, levels of nesting, and bytes of each binary. With @opts, `inspect/2` shows even less.
  @terms 400
  @elements 102
  @depth 12
  @bytes 512

  # 2^1024, which has 309 digits. For an integer of this size or above, the text shows the number
  # of bytes instead of the digits.
  @longest Bitwise.bsl(1, 1_024)

  @spec show(term) :: String.t()
  def show(term) do
    if Weight.light?(term, @small),
      do: inspect_cut(shorten(term)),
      else: inspect_cut(elem(cut(term, @terms, @depth), 0))
  end

  defp inspect_cut(term) do
    inspect(term, @opts)
  rescue
    # Elixir 1.14 takes an improper list of printable characters for a charlist, and raises.
    _ -> inspect(term, [charlists: :as_lists] ++ @opts)
  end

  # Replaces a light term that is a long integer by a text with the size of the integer. Does not
  # replace integers inside a light term: they have at most 1 KiB, so their digits are few enough.
  defp shorten(term) when is_integer(term), do: integer(term)
  defp shorten(term), do: term

  defp integer(term) when term < @longest and term > -@longest, do: term
  defp integer(term), do: %Cut{text: "#Integer<#{:erlang.external_size(term)} bytes>"}

  # Returns the kept part of a term, and the number of terms that the cut can still keep.
  defp cut(_term, left, depth) when left <= 0 or depth == 0, do: {%Cut{}, left}
  defp cut(term, left, _depth) when is_integer(term), do: {integer(term), left - 1}

  defp cut(term, left, _depth) when is_bitstring(term) and byte_size(term) > @bytes do
    <<kept::binary-size(@bytes), _rest::bitstring>> = term
    {kept, left - 1}
  end

  defp cut(term, left, depth) when is_list(term), do: list(term, left - 1, depth - 1, @elements, [])

  defp cut(term, left, depth) when is_tuple(term) do
    kept = min(tuple_size(term), @elements)
    elements = for at <- 0..(kept - 1)//1, do: elem(term, at)
    {elements, left} = list(elements, left - 1, depth - 1, @elements, [])
    {List.to_tuple(elements), left}
  end

  # Shows only the name of a struct, because the struct's implementation of `Inspect` may walk the
  # whole term.
  defp cut(%{__struct__: module}, left, _depth) when is_atom(module),
    do: {%Cut{text: "%#{inspect(module)}{...}"}, left - 1}

  defp cut(term, left, depth) when is_map(term) do
    {pairs, left} = pairs(:maps.next(:maps.iterator(term)), left - 1, depth - 1, @elements, [])
    {Map.new(pairs), left}
  end

  defp cut(term, left, _depth), do: {term, left - 1}

  defp list([], left, _depth, _most, kept), do: {Enum.reverse(kept), left}

  defp list([head | tail], left, depth, most, kept) when most > 0 and left > 0 do
    {head, left} = cut(head, left, depth)
    list(tail, left, depth, most - 1, [head | kept])
  end

  # Stops after @elements, and adds no mark. `inspect/2` shows fewer elements than that, and marks
  # its own cut.
  defp list([_ | _], left, _depth, 0, kept), do: {Enum.reverse(kept), left}
  defp list([_ | _], left, _depth, _most, kept), do: {Enum.reverse([%Cut{} | kept]), left}

  defp list(tail, left, depth, _most, kept) do
    {tail, left} = cut(tail, left, depth)
    {:lists.reverse(kept, tail), left}
  end

  defp pairs(next, left, _depth, most, kept) when next == :none or most == 0 or left <= 0, do: {kept, left}

  defp pairs({key, value, iterator}, left, depth, most, kept) do
    {key, left} = cut(key, left, depth)
    {value, left} = cut(value, left, depth)
    pairs(:maps.next(iterator), left, depth, most - 1, [{key, value} | kept])
  end
end
