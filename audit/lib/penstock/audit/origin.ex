defmodule Penstock.Audit.Origin do
  @moduledoc false
  # Where a value comes from, and who decides how many elements it has.
  #
  # An origin is `{count, value, inner}`. `count` is about the number of elements, `value` about the
  # elements, and `inner` about the number of elements that one element has. Each is a symbol `{level, references}`: the
  # level that is known now, and the parameters that may raise it. A reference `{index, :count | :value}` is
  # a parameter of the function, whose level is known once all calls of the project are.

  import Kernel, except: [apply: 2]

  @fixed 0
  @own 1
  @argument 2
  @outside 3

  @type symbol :: {0..3, [{non_neg_integer, :count | :value}]}
  @type t :: {symbol, symbol, symbol}

  @doc "The level of what the program's text or its operator sets."
  def fixed_level, do: @fixed
  @doc "The level of what the application itself knows, such as its state and its database."
  def own_level, do: @own
  @doc "The level of an argument whose callers are not known."
  def argument_level, do: @argument
  @doc "The level of what an outsider sends."
  def outside_level, do: @outside

  def fixed, do: of(@fixed)
  def own, do: of(@own)
  def argument, do: of(@argument)
  def outside, do: of(@outside)

  @doc "Returns the origin of parameter `index`."
  def param(index) do
    value = {0, [{index, :value}]}
    {{0, [{index, :count}]}, value, value}
  end

  @doc "Returns the origin of a part of a value."
  def part({_count, value, _inner}), do: {value, value, value}

  @doc "Returns the origin of an element of a collection."
  def element({_count, value, inner}), do: {inner, value, value}

  @doc "Returns the origin of a collection of as many elements as the text has, whose values come from `origins`."
  def literal(origins) do
    {_count, value, _inner} = join_all(origins)
    {{@fixed, []}, value, value}
  end

  @doc "Returns the origin of a collection with a limited number of the elements of another."
  def limited({_count, value, inner}), do: {{@fixed, []}, value, inner}

  @doc "Returns the origin of a collection of limited parts of another."
  def chunked({count, value, _inner}), do: {count, value, {@fixed, []}}

  @doc "Returns the origin of a collection whose size is the value of `origin`, as in a range."
  def sized({_count, value, _inner}), do: {value, value, value}

  @doc "Returns the origin of the number of elements of a collection."
  def counted({count, _value, _inner}), do: {count, count, count}

  @doc "Returns the origin of a collection with other elements but as many of them."
  def mapped({count, value, inner}, other), do: {count, join_symbols(value, elem(other, 1)), inner}

  @doc "Returns the origin of a value that may be either."
  def join({c1, v1, i1}, {c2, v2, i2}), do: {join_symbols(c1, c2), join_symbols(v1, v2), join_symbols(i1, i2)}

  def join_all(origins), do: Enum.reduce(origins, fixed(), &join/2)

  @doc "Returns the origin of a function's result, where `args` are the origins of the arguments of the call."
  def apply({count, value, inner}, args),
    do: {substitute(count, args), substitute(value, args), substitute(inner, args)}

  defp substitute({_level, []} = symbol, _args), do: symbol

  defp substitute({level, references}, args) do
    Enum.reduce(references, {level, []}, fn {index, part}, symbol ->
      case Enum.at(args, index) do
        nil -> join_symbols(symbol, {@own, []})
        {count, value, _inner} -> join_symbols(symbol, if(part == :count, do: count, else: value))
      end
    end)
  end

  @doc "Raises all levels of the origin to that of the application's own data."
  def at_least_own(origin), do: join(origin, own())

  @doc "Returns the level of a symbol, where `params` has the `{count, value}` levels of parameters."
  def level({base, references}, params) do
    Enum.reduce(references, base, fn {index, part}, level ->
      {count, value} = Map.get(params, index, {@own, @own})
      max(level, if(part == :count, do: count, else: value))
    end)
  end

  def count_level({count, _value, _inner}, params), do: level(count, params)
  def value_level({_count, value, _inner}, params), do: level(value, params)

  defp of(level), do: {{level, []}, {level, []}, {level, []}}

  defp join_symbols(same, same), do: same
  defp join_symbols({l1, []}, {l2, []}), do: {max(l1, l2), []}
  defp join_symbols({l1, r1}, {l2, r2}), do: {max(l1, l2), Enum.uniq(r1 ++ r2)}
end
