defmodule Penstock.Admission.Request do
  # Reads and documents the options that functions with a gate share. Runs in the caller.
  #
  # Each spawn runs this code, so it avoids `Keyword`. The most common lists have clauses of their
  # own. `read/7` reads all others in one pass, and stops at the first option that is unknown,
  # invalid or given twice. Then `reread!/3` reads the list again, by `Keyword`, and raises if
  # there is an error.
  @moduledoc false

  alias Penstock.Admission.KeySize
  alias Penstock.Options

  # permits     - number of permits that the work takes of a pool
  # timeout     - ms to wait for them; or :infinity
  # key         - {:key, term}, by which a keyed pool, a limiter or a ban decides; or :none
  # cost        - cost of the hit at a limiter
  # max_runtime - ms after which the process is killed; or nil
  # keys        - the keys of single limits of a gate, by the names of the limits
  defstruct permits: 1, timeout: 0, key: :none, keys: %{}, cost: 1, max_runtime: nil

  @type t :: %__MODULE__{
          permits: pos_integer,
          timeout: timeout,
          key: :none | {:key, term},
          keys: %{optional(atom) => term},
          cost: pos_integer,
          max_runtime: pos_integer | nil
        }

  @max 0x7FFF_FFFF

  @wait_options [:permits, :timeout]
  @turn_options [:cost, :timeout]
  @run_options [:timeout, :permits, :key, :keys, :cost]
  @start_options [:timeout, :permits, :key, :keys, :cost, :max_runtime]

  @docs [
    timeout: "how long to wait to be admitted, in ms or `:infinity`",
    permits: "how many permits of a pool, or of a key, the work takes: 1 to 2_147_483_647. Default `1`",
    key:
      "the key that a keyed pool, a limiter or a ban admits by: any term but `nil`. Keyed pools and\n" <>
        "      bans require a key; a limiter without one uses `:global`; pools ignore it",
    keys:
      "the keys of single limits of a `Penstock.Gate`, as a map of their names to keys. It goes before\n" <>
        "      `:key`",
    cost: "the cost of the hit on a limiter: 1 to 2_147_483_647. Default `1`",
    max_runtime:
      "how long the process may run, in ms. It is killed with `:kill`, usually at most 100 ms\n" <>
        "      after that; monitors and links see `:killed`. `Penstock.Pool.info/1` counts it, limiters\n" <>
        "      and bans do not. Default: no bound"
  ]

  defguardp is_count(value) when is_integer(value) and value > 0 and value <= @max
  defguardp is_timeout(value) when value == :infinity or (is_integer(value) and value >= 0 and value <= @max)

  # Returns the documentation of the options that `run!/2` (`:run`) or `start!/3` (`:start`)
  # reads, as items of a Markdown list.
  @spec docs(:run | :start, timeout) :: String.t()
  def docs(kind, default_timeout) do
    default = default_timeout |> Integer.to_string() |> String.replace_suffix("000", "_000")
    docs = Keyword.update!(@docs, :timeout, &"#{&1}. Default `#{default}`")
    options = if kind == :run, do: @run_options, else: @start_options
    Enum.map_join(options, "\n", &"  * `#{inspect(&1)}` - #{docs[&1]}")
  end

  # Reads the options of work in the calling process. Such work has no `:max_runtime`. The
  # argument `timeout` is the default of the option `:timeout`.
  @spec run!(term, timeout) :: t
  def run!([], timeout), do: %__MODULE__{timeout: timeout}
  def run!([timeout: value], _timeout) when is_timeout(value), do: %__MODULE__{timeout: value}
  def run!([permits: value], timeout) when is_count(value), do: %__MODULE__{permits: value, timeout: timeout}
  def run!([key: value], timeout) when value != nil, do: %__MODULE__{key: {:key, value}, timeout: timeout}
  def run!(opts, timeout), do: read!(opts, timeout, @run_options, nil, :unknown, nil, nil)

  # Reads the options of work in a new process. The list can also have options of the names
  # `others`, which the calling function reads itself.
  @spec start!(term, timeout, [atom]) :: t
  def start!(opts, timeout, others \\ [])
  def start!([], timeout, _others), do: %__MODULE__{timeout: timeout}
  def start!([timeout: value], _timeout, _others) when is_timeout(value), do: %__MODULE__{timeout: value}
  def start!([key: value], timeout, _others) when value != nil, do: %__MODULE__{key: {:key, value}, timeout: timeout}
  def start!(opts, timeout, others), do: read!(opts, timeout, @start_options ++ others, nil, nil, nil, nil)

  # Reads the options of a gated child spec.
  @spec child!(term) :: t
  def child!([]), do: %__MODULE__{}
  def child!(opts), do: reread!(opts, 0, [:key, :keys])

  # Reads the options of a caller that acquires permits for itself.
  @spec wait!(term, timeout) :: t
  def wait!(opts, timeout), do: read!(opts, timeout, @wait_options, nil, :unknown, :unknown, :unknown)

  # Reads the options of a caller that acquires permits of all limits of a gate for itself.
  @spec gate!(term, timeout) :: t
  def gate!(opts, timeout), do: read!(opts, timeout, @run_options, nil, :unknown, nil, nil)

  # Reads the options of a caller that waits for its turn at a limiter.
  @spec turn!(term, timeout) :: t
  def turn!([], timeout), do: %__MODULE__{timeout: timeout}
  def turn!(opts, timeout), do: read!(opts, timeout, @turn_options, :unknown, :unknown, :unknown, nil)

  # Puts `:key` or `:cost` into a request.
  @spec put!(t, :key | :cost, term) :: t
  def put!(_request, :key, nil), do: KeySize.nil_key!(":key")
  def put!(request, :key, key), do: %{request | key: {:key, key}}
  def put!(request, :cost, cost), do: %{request | cost: Options.permits!(cost, ":cost")}

  # Puts the keys of single limits into a request. Their sizes are checked here, so the native side
  # need not measure them.
  defp put_keys!(request, keys) when is_map(keys) and not is_struct(keys) do
    for {name, key} <- keys do
      unless is_atom(name), do: Options.expected!("each name in :keys", "the name of a limit", name)
      if key == nil, do: KeySize.nil_key!("the key of #{inspect(name)} in :keys")
      KeySize.check!(key)
    end

    %{request | keys: keys}
  end

  defp put_keys!(_request, keys), do: Options.expected!(":keys", "a map of the names of limits to keys", keys)

  # The calling function passes nil for each option that the list can have, and `:unknown` for
  # each that it must not have. A clause of `read/7` sets an option only while the option is nil.
  # So a list with an `:unknown` option leads to the second reading, which raises.
  defp read!(opts, default, known, permits, max_runtime, key, cost) do
    with :second_reading <- read(opts, default, permits, nil, max_runtime, key, cost), do: reread!(opts, default, known)
  end

  defp read([], default, permits, timeout, max_runtime, key, cost) do
    %__MODULE__{
      permits: given(permits, 1),
      timeout: timeout || default,
      max_runtime: given(max_runtime, nil),
      key: given(key, :none),
      cost: given(cost, 1)
    }
  end

  defp read([{:timeout, value} | rest], default, permits, nil, max_runtime, key, cost) when is_timeout(value) do
    read(rest, default, permits, value, max_runtime, key, cost)
  end

  defp read([{:permits, value} | rest], default, nil, timeout, max_runtime, key, cost) when is_count(value) do
    read(rest, default, value, timeout, max_runtime, key, cost)
  end

  defp read([{:key, value} | rest], default, permits, timeout, max_runtime, nil, cost) when value != nil do
    read(rest, default, permits, timeout, max_runtime, {:key, value}, cost)
  end

  defp read([{:cost, value} | rest], default, permits, timeout, max_runtime, key, nil) when is_count(value) do
    read(rest, default, permits, timeout, max_runtime, key, value)
  end

  defp read([{:max_runtime, value} | rest], default, permits, timeout, nil, key, cost) when is_count(value) do
    read(rest, default, permits, timeout, value, key, cost)
  end

  defp read(_opts, _default, _permits, _timeout, _max_runtime, _key, _cost), do: :second_reading

  defp given(value, default) when value in [nil, :unknown], do: default
  defp given(value, _default), do: value

  # Reads the options by `Keyword`, and raises if one is wrong. If an option is given twice,
  # `Keyword.get/3` takes the first value.
  defp reread!(opts, default, known) do
    opts = Options.known!(opts, known)

    request = %__MODULE__{
      permits: Options.permits!(Keyword.get(opts, :permits, 1)),
      timeout: Options.timeout!(Keyword.get(opts, :timeout, default)),
      max_runtime: Options.max_runtime!(Keyword.get(opts, :max_runtime)),
      cost: Options.permits!(Keyword.get(opts, :cost, 1), ":cost")
    }

    request = put_keys!(request, Keyword.get(opts, :keys, %{}))

    case Keyword.fetch(opts, :key) do
      {:ok, key} -> put!(request, :key, key)
      :error -> request
    end
  end
end
