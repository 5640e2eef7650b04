defmodule Penstock.Task.Stream.Elements do
  # Pulls the elements of an enumerable one at a time. Runs in the consumer of the stream. The
  # elements that are not pulled yet have one of three forms:
  #
  #     list                      all elements that are left; `[]` if there are none
  #     {:more, fun}              an enumerable that has paused, or has not started: `fun` runs it
  #                               to its next pause, and usually gives one element
  #     {:queue, elements, rest}  elements that one call of such a `fun` gave together, and then
  #                               the rest
  @moduledoc false

  @type t :: list | {:more, Enumerable.continuation()} | {:queue, nonempty_list, t}

  # The most elements that an enumerable can give in one step. Without a bound, an endless
  # enumerable that never pauses would fill the memory.
  @most_in_one_step 1_000_000

  @spec start(Enumerable.t()) :: t
  def start(list) when is_list(list), do: list
  def start(other), do: {:more, &Enumerable.reduce(other, &1, fn element, acc -> pause(element, acc) end)}

  # Asks the enumerable to pause after each element. Some streams undo the pause, as
  # `Stream.take/2` does after its last element inside of `Stream.concat/2`. Then one step gives
  # several elements, which are collected in reverse order.
  defp pause(element, nil), do: {:suspend, {:element, element}}
  defp pause(element, {:element, first}), do: {:suspend, {:elements, 2, [element, first]}}

  defp pause(element, {:elements, n, elements}) when n < @most_in_one_step do
    {:suspend, {:elements, n + 1, [element | elements]}}
  end

  defp pause(_element, {:elements, n, _elements}) do
    what = "to pause after each element (a stream inside of it, such as one of Stream.take/2, may undo pauses)"
    raise ArgumentError, "expected the enumerable #{what}, got: #{n} elements and no pause"
  end

  # Pulls an element. `:none` means that the enumerable has ended, or has paused without an
  # element.
  @spec next(t) :: {:element, term, t} | {:none, t}
  def next([element | rest]), do: {:element, element, rest}
  def next({:queue, [element], rest}), do: {:element, element, rest}
  def next({:queue, [element | more], rest}), do: {:element, element, {:queue, more, rest}}

  def next(rest) do
    case more(rest) do
      {:suspended, {:element, element}, more} -> {:element, element, {:more, more}}
      {:suspended, {:elements, _n, elements}, more} -> next({:queue, Enum.reverse(elements), {:more, more}})
      {:suspended, nil, more} -> {:none, {:more, more}}
      # The enumerable has ended, and this step has given its last elements.
      {_done_or_halted, {:element, element}} -> {:element, element, []}
      {_done_or_halted, {:elements, _n, elements}} -> next(Enum.reverse(elements))
      {_done_or_halted, nil} -> {:none, []}
    end
  end

  defp more({:more, more}), do: more.({:cont, nil})
  # `Enumerable.List` raises for the tail of an improper list, as in any other enumeration.
  defp more(tail), do: Enumerable.List.reduce(tail, {:cont, nil}, fn _element, acc -> {:cont, acc} end)

  # Closes the enumerable.
  @spec halt(t) :: term
  def halt({:more, more}), do: more.({:halt, nil})
  def halt({:queue, _elements, rest}), do: halt(rest)
  def halt(_list), do: :ok
end
