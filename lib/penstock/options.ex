defmodule Penstock.Options do
  # Checks what users pass. Each raises an ArgumentError that names the option and shows the value.
  @moduledoc false

  # 2^31-1: the most permits, waiters and the like that one number may say.
  @max 0x7FFF_FFFF
  # What `receive ... after` takes.
  @max_timeout 0xFFFF_FFFF

  @max_message "between 1 and 2147483647"

  @spec permits!(term, String.t()) :: pos_integer
  def permits!(value, name \\ ":permits")
  def permits!(value, _name) when is_integer(value) and value in 1..@max, do: value
  def permits!(value, name), do: expected!(name, "an integer #{@max_message}", value)

  @spec timeout!(term, String.t()) :: timeout
  def timeout!(value, name \\ ":timeout")
  def timeout!(:infinity, _name), do: :infinity
  def timeout!(value, _name) when is_integer(value) and value in 0..@max_timeout, do: value

  def timeout!(value, name) do
    expected!(name, "a number of milliseconds between 0 and #{@max_timeout} or :infinity", value)
  end

  @spec limit!(term, String.t()) :: non_neg_integer | :infinity
  def limit!(value, name \\ ":limit")
  def limit!(:infinity, _name), do: :infinity
  def limit!(value, _name) when is_integer(value) and value in 0..@max, do: value

  # The form that users look for; above 2^31-1 the bound is what they need to know.
  def limit!(value, name) when is_integer(value) and value > @max do
    expected!(name, "a non-negative integer up to #{@max} or :infinity", value)
  end

  def limit!(value, name), do: expected!(name, "a non-negative integer or :infinity", value)

  @spec max_waiting!(term) :: non_neg_integer
  def max_waiting!(value) when is_integer(value) and value in 0..@max, do: value

  def max_waiting!(value) do
    expected!(":max_waiting", "an integer between 0 and #{@max}", value)
  end

  @spec name!(term) :: atom
  def name!(value) when is_atom(value) and value not in [nil, true, false], do: value
  def name!(value), do: expected!(":name", "an atom other than nil, true and false", value)

  @spec fun!(term) :: fun
  def fun!(fun) when is_function(fun, 0), do: fun
  def fun!(value), do: expected!("fun", "a function of arity 0", value)

  @spec spawn_opt!(term) :: list
  def spawn_opt!(value) do
    if is_list(value) and List.improper?(value) == false and
         not Enum.any?(value, &(&1 in [:link, :monitor] or match?({:monitor, _}, &1))) do
      value
    else
      invalid_spawn_opt!(value)
    end
  end

  @spec invalid_spawn_opt!(term) :: no_return
  def invalid_spawn_opt!(value) do
    expected!(
      ":spawn_opt",
      "a list of options of :erlang.spawn_opt/4 other than :link and :monitor",
      value
    )
  end

  @doc false
  # The known options of a call, as a keyword list that has each at most once.
  @spec known!(term, [atom]) :: keyword
  def known!(opts, known) do
    unless Keyword.keyword?(opts), do: expected!("options", "a keyword list", opts)

    for {key, value} <- opts, key not in known do
      raise ArgumentError,
            "unknown option #{inspect(key)} (with value #{inspect(value)}), " <>
              "the options are: #{Enum.map_join(known, ", ", &inspect/1)}"
    end

    opts
  end

  @spec fetch!(keyword, atom) :: term
  def fetch!(opts, key) do
    case opts do
      [] ->
        raise ArgumentError, "expected the option #{inspect(key)} to be given, got: []"

      _ ->
        Keyword.get_lazy(opts, key, fn ->
          raise ArgumentError,
                "expected the option #{inspect(key)} to be given, got: #{inspect(opts)}"
        end)
    end
  end

  @spec expected!(String.t(), String.t(), term) :: no_return
  def expected!(name, what, value) do
    raise ArgumentError, "expected #{name} to be #{what}, got: #{inspect(value)}"
  end
end
