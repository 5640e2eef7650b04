defmodule Penstock.BadInput do
  # Wrong arguments and options of each kind, and the expected messages about them.
  @moduledoc false

  import ExUnit.Assertions
  import Penstock.PoolCase

  alias Penstock.{Garbage, Pool}

  @max 2_147_483_647

  @doc "Starts a pool with a name and one without, and acquires two permits of each."
  def pools_in_use(_context) do
    pool = start_pool(limit: 10)
    unnamed = Pool.new(limit: 10)
    for pool <- [pool, unnamed], do: :ok = Pool.acquire(pool, permits: 2)
    %{pools: [pool, unnamed]}
  end

  @doc """
  Asserts that `function` of `module` refuses each value at `position` among valid arguments.

  `:the_pool` in `args` stands for each of `pools`. `message` returns the expected message for a
  value.
  """
  def refuses(pools, module, function, args, position, values, message) do
    for pool <- pools, value <- values do
      args = args |> Enum.map(&if(&1 == :the_pool, do: pool, else: &1)) |> List.replace_at(position, value)

      error =
        try do
          apply(module, function, args)
        rescue
          error in ArgumentError -> error
        else
          result -> flunk("#{inspect(function)} with #{inspect(value)} at #{position} returned #{inspect(result)}")
        end

      assert without_hint(Exception.message(error)) == message.(value)
    end

    assert_untouched(pools)
  end

  defp assert_untouched(pools) do
    for pool <- pools do
      assert %{in_use: 2, holders: 1, waiting: 0, limit: 10, max_waiting: 1_000} = info = Pool.info(pool)
      assert %{acquired: 1, rejected: 0, timed_out: 0, status: :open} = info
    end

    assert mailbox() == []
  end

  def expected(name, what), do: fn value -> "expected #{name} to be #{what}, got: #{shown(value)}" end

  defp shown(value), do: inspect(value, limit: 10, printable_limit: 100)

  def not_a_pool do
    fn
      name when is_atom(name) and name not in [nil, true, false] -> "no pool named #{inspect(name)} is running"
      value -> expected("pool", "the name of a pool or a %Penstock.Pool{} of this node").(value)
    end
  end

  def not_a_gate do
    fn
      name when is_atom(name) and name not in [nil, true, false] -> "no gate named #{inspect(name)} is running"
      value -> expected("gate", "the name of a gate, or a %Penstock.Pool{} of this node").(value)
    end
  end

  def not_permits(name), do: expected(name, "an integer between 1 and 2147483647")
  def not_timeout(name), do: expected(name, "a number of milliseconds between 0 and 2147483647 or :infinity")
  def not_max_waiting, do: expected(":max_waiting", "an integer between 0 and 2147483647")
  def not_options, do: expected("options", "a keyword list")

  # Returns the messages of functions with an option `:permits`. The message about a number has a
  # hint.
  def not_options_with_permits do
    fn
      n when is_integer(n) and n in 1..@max -> "#{not_options().(n)} (for several permits: permits: #{n})"
      other -> not_options().(other)
    end
  end

  # Returns the end of the message about an unknown option. It is a hint if the unknown option
  # resembles one of `known`.
  def meant(:costs, known), do: if(known =~ ":cost", do: ", did you mean :cost?", else: ".")
  def meant(:Timeout, known), do: if(known =~ ":timeout", do: ", did you mean :timeout?", else: ".")
  def meant(_option, _known), do: "."

  def not_fun, do: expected("fun", "a function of arity 0")

  def not_limit(name) do
    fn
      value when is_integer(value) and value > @max ->
        expected(name, "a non-negative integer up to 2147483647 or :infinity").(value)

      value ->
        expected(name, "a non-negative integer or :infinity").(value)
    end
  end

  # Each of these functions returns the values that are invalid as a pool, as permits, and so on.
  def no_pools, do: Garbage.terms()
  def no_permits, do: Enum.reject(Garbage.terms(), &(is_integer(&1) and &1 in 1..@max))
  def no_limits, do: Enum.reject(Garbage.terms(), &((is_integer(&1) and &1 in 0..@max) or &1 == :infinity))
  def no_max_waiting, do: Enum.reject(Garbage.terms(), &(is_integer(&1) and &1 in 0..@max))
  def no_timeouts, do: Enum.reject(Garbage.terms(), &((is_integer(&1) and &1 in 0..0x7FFFFFFF) or &1 == :infinity))
  def no_options, do: Enum.reject(Garbage.terms(), &Keyword.keyword?/1)
  def no_funs, do: Enum.reject(Garbage.terms(), &is_function(&1, 0))

  # `as/2` makes an option list of each value, `[option: value]`. `of/1` returns the message about
  # the value in such a list.
  def as(values, option), do: Enum.map(values, &[{option, &1}])
  def of(message), do: fn [{_option, value} | _] -> message.(value) end
end
