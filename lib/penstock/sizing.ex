defmodule Penstock.Sizing do
  @moduledoc """
  Computes limits from how often callers arrive and for how long each holds a permit.

      iex> Penstock.Sizing.in_use(rate: 200, hold: 50)
      10.0
      iex> Penstock.Sizing.limit(rate: 200, hold: 50, wait: 5)
      13

  | to find | function |
  |---|---|
  | how many permits are in use on average | `in_use/1` |
  | the least limit that keeps waits or refusals rare | `limit/1` |
  | how long callers wait at a limit | `waits/2` |
  | how many callers a limit refuses if none waits | `refused/2` |
  | how many processes the memory has room for | `fit/1` |
  | the `+P` that the limits need | `process_limit/2` |
  | all of it for several limits, as text | `table/1` |

  ## Options

    * `:rate` - how many callers arrive in a second, on average. Required
    * `:hold` - for how many ms a caller holds its permit, on average. Required

  Each of them, and `:wait`, is a number above `1.0e-9` and below `1.0e15`.

  ## What the figures assume

  Callers arrive independently of each other, and the times for which they hold permits are spread
  exponentially. These are the formulas of Erlang. Callers that arrive in bursts wait longer. Holds of
  equal length make waits shorter, at most by half. So take the figures as a start, and then look at
  the gate's own: see the guide on observability.
  """

  alias Penstock.Options
  alias Penstock.Sizing.{Queue, Table}
  alias Penstock.VM.Advice

  # More permits in use are no model of one node, and would take long to compute.
  @most_in_use 1_000_000

  @ms_per_second 1_000

  # The part of the VM's processes that gates should leave to code that no gate knows of.
  @free_part 2
  # The default number of processes that an application runs without a gate.
  @others 1_000
  # Work often has a second process, such as that of its connection.
  @per_permit 2
  # The VM accepts no larger limit of processes.
  @most_process_limit 134_217_727
  # The largest number of permits or processes.
  @most_count 2_147_483_647

  @type option :: {:rate, number} | {:hold, number}

  @doc """
  Returns how many permits are in use on average, if there are always enough, as a float.

  This is Little's law: the arrivals in a second times the seconds that each holds its permit. A limit
  below it never keeps up.

  ## Options

  `:rate` and `:hold`, see the module's options. Raises `ArgumentError` for bad options.

  ## Examples

      iex> Penstock.Sizing.in_use(rate: 30, hold: 200)
      6.0
  """
  @spec in_use([option]) :: float
  def in_use(opts), do: opts |> Options.known!([:rate, :hold]) |> load!()

  @doc """
  Returns the least limit that meets a goal, as a positive integer.

  ## Options

    * `:rate` and `:hold`, see the module's options
    * `:wait` - the longest wait, in ms, that is fine on average
    * `:refused` - if none waits, at most this part of the callers is refused. A number above 0 and
      below 1

  One of `:wait` and `:refused` is required, and they exclude each other. Raises `ArgumentError` for bad
  options.

  ## Examples

  200 requests a second hold a connection for 50 ms each. A refusal of one in a thousand is fine:

      iex> Penstock.Sizing.limit(rate: 200, hold: 50, refused: 0.001)
      21
  """
  @spec limit([option | {:wait, number} | {:refused, number}]) :: pos_integer
  def limit(opts) do
    opts = Options.known!(opts, [:rate, :hold, :wait, :refused])
    load = load!(opts)

    case {opts[:wait], opts[:refused]} do
      {nil, nil} -> raise ArgumentError, "one of the options :wait and :refused is missing, such as wait: 5"
      {wait, nil} -> Queue.least_for_wait(load, opts[:hold], positive!(wait, ":wait"))
      {nil, refused} -> Queue.least_for_refused(load, part!(refused, ":refused"))
      {_wait, _refused} -> raise ArgumentError, "the options :wait and :refused exclude each other"
    end
  end

  @doc """
  Returns how long callers wait for a permit at a limit, if they all wait:
  `%{use: float, waiting: float, mean: ms, p95: ms, p99: ms}`.

    * `:use` - the part of the permits that is in use on average, at most `1.0`
    * `:waiting` - the part of the callers that waits at all
    * `:mean` - the wait in ms, on average over all callers
    * `:p95`, `:p99` - the wait in ms that 95 or 99 of 100 callers do not exceed

  The waits are `:infinity` if the limit does not keep up with the callers.

  ## Options

  `:rate` and `:hold`, see the module's options. Raises `ArgumentError` for bad arguments.

  ## Examples

      iex> waits = Penstock.Sizing.waits(12, rate: 200, hold: 50)
      iex> Float.round(waits.waiting, 2)
      0.45
      iex> Float.round(waits.mean, 1)
      11.2

      iex> Penstock.Sizing.waits(10, rate: 200, hold: 50)
      %{use: 1.0, waiting: 1.0, mean: :infinity, p95: :infinity, p99: :infinity}
  """
  @spec waits(pos_integer, [option]) :: %{
          use: float,
          waiting: float,
          mean: float | :infinity,
          p95: float | :infinity,
          p99: float | :infinity
        }
  def waits(limit, opts) do
    opts = Options.known!(opts, [:rate, :hold])
    limit |> Options.permits!("limit") |> Queue.waits(load!(opts), opts[:hold])
  end

  @doc """
  Returns the part of the callers that a limit refuses if none waits, as a float from `0.0` to `1.0`.

  It depends on the mean hold alone, not on how holds are spread.

  ## Options

  `:rate` and `:hold`, see the module's options. Raises `ArgumentError` for bad arguments.

  ## Examples

      iex> Float.round(Penstock.Sizing.refused(15, rate: 200, hold: 50), 3)
      0.036
  """
  @spec refused(pos_integer, [option]) :: float
  def refused(limit, opts) do
    opts = Options.known!(opts, [:rate, :hold])
    limit |> Options.permits!("limit") |> Queue.refused(load!(opts))
  end

  @doc """
  Returns how many processes the memory has room for, as a non-negative integer. Take it as an upper bound
  of a pool's limit.

  ## Options

    * `:memory` - the bytes that the work of the pool may take. Required
    * `:per_process` - the bytes that one process needs at most, with the binaries that it keeps.
      Required

  Raises `ArgumentError` for bad options.

  ## Examples

  A worker holds up to 4 MB, and the node can spare 2 GB for workers:

      iex> Penstock.Sizing.fit(memory: 2_000_000_000, per_process: 4_000_000)
      500
  """
  @spec fit(memory: pos_integer, per_process: pos_integer) :: non_neg_integer
  def fit(opts) do
    opts = Options.known!(opts, [:memory, :per_process])
    example = "memory: 2_000_000_000, per_process: 4_000_000"
    memory = opts |> Options.fetch!(:memory, example) |> bytes!(":memory")
    per_process = opts |> Options.fetch!(:per_process, example) |> bytes!(":per_process")
    div(memory, per_process)
  end

  @doc """
  Returns the value for the VM's flag `+P` that pools with these limits need, as a positive integer.

  Half of the processes of the VM are left to code that no gate knows of. The result is a power of two,
  because the VM takes the next one anyway. It is at least the VM's default, which is 262,144, and
  1,048,576 from OTP 27 on. If it equals the default, the VM needs no flag.

  ## Options

    * `:per_permit` - how many processes a piece of work has. Default `2`, such as a worker and its
      connection
    * `:others` - how many processes the application runs without a gate. Default `1_000`

  Raises `ArgumentError` for bad arguments, and if the VM cannot have that number of processes.

  ## Examples

      iex> Penstock.Sizing.process_limit([400_000, 20_000])
      2097152
  """
  @spec process_limit([non_neg_integer], per_permit: pos_integer, others: non_neg_integer) :: pos_integer
  def process_limit(limits, opts \\ []) do
    opts = Options.known!(opts, [:per_permit, :others])
    per_permit = opts |> Keyword.get(:per_permit, @per_permit) |> Options.permits!(":per_permit")
    others = opts |> Keyword.get(:others, @others) |> count!(":others")

    unless is_list(limits) and not List.improper?(limits), do: Options.expected!("limits", "a list", limits)
    processes = Enum.sum(for limit <- limits, do: count!(limit, "each limit")) * per_permit + others

    # The VM rounds up to a power of two, and takes its largest number for the power above.
    if processes * @free_part > @most_process_limit + 1 do
      raise ArgumentError,
            "expected limits that need at most #{@most_process_limit} processes, half of which stay free, " <>
              "got: #{Options.show(processes)} processes"
    end

    (processes * @free_part) |> power_of_two(Advice.default_process_limit()) |> min(@most_process_limit)
  end

  @doc """
  Returns a table of limits with what callers meet at each, as a string for a terminal.

  It has a row for the least limit that keeps up, and for larger ones, until waits are rare.

  ## Options

  `:rate` and `:hold`, see the module's options. Raises `ArgumentError` for bad options.

  ## Examples

      iex> [title | _rows] = String.split(Penstock.Sizing.table(rate: 200, hold: 50), "\\n")
      iex> title
      "limit   in use   callers that wait   mean wait   99 % wait at most   refused if none waits"
  """
  @spec table([option]) :: String.t()
  def table(opts) do
    opts = Options.known!(opts, [:rate, :hold])
    Table.text(load!(opts), opts[:hold])
  end

  # --- options

  defp load!(opts) do
    example = "rate: 200, hold: 50"
    rate = opts |> Options.fetch!(:rate, example) |> positive!(":rate")
    hold = opts |> Options.fetch!(:hold, example) |> positive!(":hold")
    # A huge integer is no float, so it is compared before it becomes one.
    if rate > @most_in_use * @ms_per_second / hold, do: too_much!(rate, hold)
    rate * hold / @ms_per_second
  end

  defp too_much!(rate, hold) do
    raise ArgumentError,
          "expected :rate times :hold to be at most #{@most_in_use} permits in use, " <>
            "got: #{Options.show(rate)} a second, each for #{Options.show(hold)} ms"
  end

  # A float can hold such a number, and its inverse.
  defp positive!(value, _name) when is_number(value) and value > 1.0e-9 and value < 1.0e15, do: value
  defp positive!(value, name), do: Options.expected!(name, "a number above 1.0e-9 and below 1.0e15", value)

  defp part!(value, _name) when is_float(value) and value > 0.0 and value < 1.0, do: value
  defp part!(value, name), do: Options.expected!(name, "a number above 0 and below 1", value)

  defp bytes!(value, _name) when is_integer(value) and value > 0, do: value
  defp bytes!(value, name), do: Options.expected!(name, "a positive number of bytes", value)

  defp count!(value, _name) when value in 0..@most_count, do: value
  defp count!(value, name), do: Options.expected!(name, "an integer from 0 to #{@most_count}", value)

  defp power_of_two(least, power) when power >= least, do: power
  defp power_of_two(least, power), do: power_of_two(least, power * 2)
end
