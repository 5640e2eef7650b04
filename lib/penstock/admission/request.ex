defmodule Penstock.Admission.Request do
  # The terms by which a gate admits work: the options that all functions share which start work.
  #
  # Common lists of options have clauses of their own. All others are read in one pass, which stops
  # at the first option that is unknown, invalid or given twice. A second reading then says what is
  # wrong.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.Admission.Keyed
  alias Penstock.Process.MaxRuntime

  @max 0x7FFF_FFFF

  defguardp is_count(value) when is_integer(value) and value > 0 and value <= @max
  @doc false
  defguard is_timeout(value) when value == :infinity or (is_integer(value) and value >= 0 and value <= @max)

  @typedoc "How many permits, how long to wait for them, how long the work may run, and what a limiter or a ban goes by."
  @type t :: {pos_integer, timeout, MaxRuntime.max_runtime(), Keyed.hit()}

  @no_key Keyed.no_key()
  @run_options [:timeout, :permits | Keyed.options()]
  @start_options [:timeout, :permits, :max_runtime | Keyed.options()]

  @doc false
  # Returns the terms of work in the calling process, which has no limit of time. `timeout` is the
  # default.
  @spec of_run!(term, timeout) :: {pos_integer, timeout, Keyed.hit()}
  def of_run!([], timeout), do: {1, timeout, @no_key}
  def of_run!([timeout: value], _timeout) when is_timeout(value), do: {1, value, @no_key}
  def of_run!([permits: value], timeout) when is_count(value), do: {value, timeout, @no_key}
  def of_run!([key: value], timeout) when value != nil, do: {1, timeout, {{:key, value}, 1}}

  def of_run!(opts, timeout) do
    # No `:max_runtime` is read: it seems to be given already.
    {permits, timeout, _given, hit} = read!(opts, timeout, :given, @run_options)
    {permits, timeout, hit}
  end

  @doc false
  # Returns the terms of a process. Options of other names than these are read by the caller.
  @spec of_start!(term, timeout, [atom]) :: t
  def of_start!(opts, timeout, known \\ @start_options)
  def of_start!([], timeout, _known), do: {1, timeout, nil, @no_key}
  def of_start!([timeout: value], _timeout, _known) when is_timeout(value), do: {1, value, nil, @no_key}
  def of_start!([key: value], timeout, _known) when value != nil, do: {1, timeout, nil, {{:key, value}, 1}}
  def of_start!(opts, timeout, known), do: read!(opts, timeout, nil, known)

  defp read!(opts, timeout, max_runtime, known) do
    with :second_reading <- read(opts, nil, nil, max_runtime, :none, nil, timeout) do
      opts = Options.known!(opts, known)

      {Options.permits!(Keyword.get(opts, :permits, 1)), Options.timeout!(Keyword.get(opts, :timeout, timeout)),
       Options.max_runtime!(Keyword.get(opts, :max_runtime)), Keyed.hit!(opts)}
    end
  end

  defp read([], permits, timeout, max_runtime, key, cost, default) do
    {permits || 1, timeout || default, max_runtime, {key, cost || 1}}
  end

  defp read([{:timeout, value} | rest], permits, nil, max_runtime, key, cost, default) when is_timeout(value) do
    read(rest, permits, value, max_runtime, key, cost, default)
  end

  defp read([{:permits, value} | rest], nil, timeout, max_runtime, key, cost, default) when is_count(value) do
    read(rest, value, timeout, max_runtime, key, cost, default)
  end

  defp read([{:key, value} | rest], permits, timeout, max_runtime, :none, cost, default) when value != nil do
    read(rest, permits, timeout, max_runtime, {:key, value}, cost, default)
  end

  defp read([{:cost, value} | rest], permits, timeout, max_runtime, key, nil, default) when is_count(value) do
    read(rest, permits, timeout, max_runtime, key, value, default)
  end

  defp read([{:max_runtime, value} | rest], permits, timeout, nil, key, cost, default) when is_count(value) do
    read(rest, permits, timeout, value, key, cost, default)
  end

  defp read(_opts, _permits, _timeout, _max_runtime, _key, _cost, _default), do: :second_reading
end
