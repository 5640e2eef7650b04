defmodule Penstock.Options do
  # Checks the arguments and options of public functions, in the process that calls them. A check
  # returns the value, or raises an ArgumentError that names the option and shows the value.
  @moduledoc false

  alias Penstock.Options.{Nearest, Show}

  # 2^31-1: the largest number of permits, waiters or milliseconds.
  @max 0x7FFF_FFFF

  @max_message "between 1 and 2147483647"

  # Returns the child spec of a module whose processes have a name. Does not check the options,
  # because the module's `start_link/1` does.
  @spec child_spec(module, term, :worker | :supervisor) :: Supervisor.child_spec()
  def child_spec(module, opts, type) do
    name = if Keyword.keyword?(opts), do: opts[:name]
    %{id: {module, name}, start: {module, :start_link, [opts]}, type: type}
  end

  # Checks a number of at least 1, such as a number of permits, a cost or a number of partitions.
  @spec permits!(term, String.t()) :: pos_integer
  def permits!(value, name \\ ":permits")
  def permits!(value, _name) when is_integer(value) and value in 1..@max, do: value
  def permits!(value, name), do: expected!(name, "an integer #{@max_message}", value)

  @spec timeout!(term, String.t()) :: timeout
  def timeout!(value, name \\ ":timeout")
  def timeout!(:infinity, _name), do: :infinity
  def timeout!(value, _name) when is_integer(value) and value in 0..@max, do: value

  def timeout!(value, name) do
    expected!(name, "a number of milliseconds between 0 and #{@max} or :infinity", value)
  end

  # The longest time for which processes are counted: a minute.
  @max_counted 60_000

  @spec counted_ms!(term) :: pos_integer
  def counted_ms!(value) when is_integer(value) and value in 1..@max_counted, do: value
  def counted_ms!(value), do: expected!("ms", "a number of milliseconds between 1 and #{@max_counted}", value)

  @spec limit!(term, String.t()) :: non_neg_integer | :infinity
  def limit!(value, name \\ ":limit")
  def limit!(:infinity, _name), do: :infinity
  def limit!(value, _name) when is_integer(value) and value in 0..@max, do: value

  # A value above the bound has a message of its own. Only this message names the bound.
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

  # Accepts nil, which means no bound on the run time.
  @spec max_runtime!(term) :: pos_integer | nil
  def max_runtime!(value), do: milliseconds!(value, ":max_runtime")

  # Accepts nil, which means that the option is not set.
  @spec milliseconds!(term, String.t()) :: pos_integer | nil
  def milliseconds!(nil, _name), do: nil
  def milliseconds!(value, _name) when is_integer(value) and value in 1..@max, do: value
  def milliseconds!(value, name), do: expected!(name, "a number of milliseconds #{@max_message}", value)

  @spec boolean!(term, String.t()) :: boolean
  def boolean!(value, name), do: one_of!(value, name, [true, false])

  @spec one_of!(term, String.t(), [atom, ...]) :: atom
  def one_of!(value, name, allowed) do
    if value in allowed, do: value, else: expected!(name, Enum.map_join(allowed, " or ", &inspect/1), value)
  end

  @spec pid!(term) :: pid
  def pid!(pid) when is_pid(pid), do: pid
  def pid!(value), do: expected!("pid", "a pid", value)

  @spec fun!(term) :: fun
  def fun!(fun) when is_function(fun, 0), do: fun
  def fun!(value), do: expected!("fun", "a function of arity 0", value)

  @spec mfargs!(term, term, term) :: {module, atom, [term]}
  def mfargs!(module, _function, _args) when not is_atom(module), do: expected!("module", "an atom", module)
  def mfargs!(_module, function, _args) when not is_atom(function), do: expected!("function", "an atom", function)

  def mfargs!(module, function, args) do
    if is_list(args) and not List.improper?(args), do: {module, function, args}, else: expected!("args", "a list", args)
  end

  # Checks the form of each option in `:spawn_opt`. The caller does this before it takes a permit.
  # Other errors, such as a heap that is larger than its own maximum, appear only when the VM
  # creates the process.
  @spec spawn_opt!(term) :: list
  def spawn_opt!(value) do
    if is_list(value) and not List.improper?(value) and Enum.all?(value, &spawn_option?/1) do
      value
    else
      invalid_spawn_opt!(value)
    end
  end

  defp spawn_option?({:priority, level}), do: level in [:low, :normal, :high, :max]
  defp spawn_option?({:message_queue_data, place}), do: place in [:on_heap, :off_heap]
  defp spawn_option?({:async_dist, flag}), do: is_boolean(flag)
  defp spawn_option?({:max_heap_size, %{} = map}), do: Enum.all?(map, &max_heap_option?/1)

  defp spawn_option?({option, n})
       when option in [:fullsweep_after, :min_heap_size, :min_bin_vheap_size, :max_heap_size, :scheduler],
       do: is_integer(n) and n >= 0

  defp spawn_option?(_other), do: false

  defp max_heap_option?({:size, n}), do: is_integer(n) and n >= 0
  defp max_heap_option?({flag, on}), do: flag in [:kill, :error_logger, :include_shared_binaries] and is_boolean(on)

  @spec invalid_spawn_opt!(term) :: no_return
  def invalid_spawn_opt!(value) do
    expected!(
      ":spawn_opt",
      "a list of options of :erlang.spawn_opt/4 other than :link and :monitor",
      value
    )
  end

  # Returns the options of a call, or raises if one of them is unknown. A user can give an option
  # twice. Then the first value counts, because all modules read options as `Keyword.get/3` does.
  @spec known!(term, [atom]) :: keyword
  def known!(opts, known) do
    unless Keyword.keyword?(opts), do: expected!("options", "a keyword list", opts, hint(opts, known))
    for {option, _value} <- opts, option not in known, do: unknown!(option, known)
    opts
  end

  # Returns a hint if the user passed a number in place of the options; otherwise "".
  defp hint(n, known) when is_integer(n) and n in 1..@max do
    if :permits in known, do: "for several permits: permits: #{n}", else: ""
  end

  defp hint(_opts, _known), do: ""

  defp unknown!(option, known) do
    nearest = Nearest.find(option, known, fn _known -> true end)
    hint = if nearest, do: ", did you mean #{inspect(nearest)}?", else: "."
    known = Enum.map_join(known, ", ", &inspect/1)
    raise ArgumentError, "unknown option #{inspect(option)}#{hint} Known: #{known}"
  end

  # Returns the value of a required option. The error shows `example`, a child spec that has the
  # option.
  @spec fetch!(keyword, atom, String.t()) :: term
  def fetch!(opts, option, example) do
    case Keyword.fetch(opts, option) do
      {:ok, value} -> value
      :error -> missing!(inspect(option), example)
    end
  end

  @spec missing!(String.t(), String.t()) :: no_return
  def missing!(option, example), do: raise(ArgumentError, "the option #{option} is missing, such as #{example}")

  # Raises an error that says that `name` must be `what`. If `hint` is not empty, the message ends
  # with `hint` in parentheses.
  @spec expected!(String.t(), String.t(), term, String.t()) :: no_return
  def expected!(name, what, value, hint \\ "") do
    hint = if hint == "", do: "", else: " (#{hint})"
    raise ArgumentError, "expected #{name} to be #{what}, got: #{show(value)}#{hint}"
  end

  # Returns a text of the value for a message. The size of the text, and the time to make it, are
  # bounded for a value of any size.
  @spec show(term) :: String.t()
  def show(value), do: Show.show(value)
end
