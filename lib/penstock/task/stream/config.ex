defmodule Penstock.Task.Stream.Config do
  # Reads the options of a stream, in the process that makes the stream. Makes the request of each
  # element to a limiter or a ban, in the consumer.
  @moduledoc false

  alias Penstock.Admission.{KeySize, Keyed, Request, Resolver}
  alias Penstock.{Native, Options}
  alias Penstock.Task.Runner

  @options [:max_concurrency, :ordered, :timeout, :on_timeout, :zip_input_on_exit, :acquire_timeout, :key, :cost]

  @type t :: map
  @type by :: {Request.t(), [{:key | :cost, (term -> term)}]}

  @spec known_options() :: [atom, ...]
  def known_options, do: @options

  # Returns the options for `Penstock.Task.Stream.reduce/3`. `under` is the supervisor of the
  # tasks; nil for none. With `linked`, a task that fails ends the consumer.
  @spec options!(Resolver.gate(), term, Runner.element_call(), keyword, Runner.supervisor() | nil, boolean) :: t
  def options!(gate, enumerable, function, opts, under \\ nil, linked \\ true) do
    %{
      gate: gate,
      enumerable: enumerable,
      function: function,
      under: under,
      linked: linked,
      max_concurrency:
        Options.permits!(Keyword.get_lazy(opts, :max_concurrency, &System.schedulers_online/0), ":max_concurrency"),
      ordered: Options.boolean!(Keyword.get(opts, :ordered, true), ":ordered"),
      timeout: Options.timeout!(Keyword.get(opts, :timeout, 5_000)),
      on_timeout: Options.one_of!(Keyword.get(opts, :on_timeout, :exit), ":on_timeout", [:exit, :kill_task]),
      zip_input_on_exit: Options.boolean!(Keyword.get(opts, :zip_input_on_exit, false), ":zip_input_on_exit"),
      acquire_timeout: Options.timeout!(Keyword.get(opts, :acquire_timeout, :infinity), ":acquire_timeout"),
      by: by!(opts)
    }
  end

  # Returns {request, functions}. The request has those of `:key` and `:cost` that are fixed. They
  # are checked here, before any process is started. The functions compute those that depend on
  # the element.
  defp by!(opts) do
    by = for option <- [:key, :cost], {:ok, value} <- [Keyword.fetch(opts, option)], do: {option, value}
    {functions, fixed} = Enum.split_with(by, fn {_option, value} -> is_function(value, 1) end)
    request = put(%Request{}, fixed)
    with {:key, key} <- request.key, do: KeySize.check!(key)
    {request, functions}
  end

  defp put(request, options),
    do: Enum.reduce(options, request, fn {option, value}, r -> Request.put!(r, option, value) end)

  # Returns the request of an element. Calls the user's functions.
  @spec request(by, term) :: Request.t()
  def request({request, []}, _element), do: request

  def request({request, functions}, element),
    do: put(request, for({option, fun} <- functions, do: {option, fun.(element)}))

  # Returns `{ref, keyed}`. `ref` is the native reference of the gate whose permits the tasks hold.
  # `keyed` is nil if the gate is a pool. It is `{:pool, gate, by}` if the gate is a keyed pool,
  # `{:turn, gate, by}` if it is a limiter or a ban, and `{:gate, gate, by}` if it has several
  # limits. In the last two cases the tasks also hold permits of the unlimited pool, by which the
  # stream monitor finds them. Raises if no such gate is running.
  @spec gate!(t) :: {Native.gate(), nil | {:pool | :turn | :gate, Resolver.gate(), by}}
  def gate!(%{gate: gate, by: {request, functions} = by}) do
    kind = Resolver.kind!(gate)
    if kind in [:ban, :keyed_pool] and request.key == :none and functions[:key] == nil, do: Keyed.no_key!(gate)

    case kind do
      :pool -> {Resolver.ref!(gate), nil}
      :keyed_pool -> {gate, {:pool, gate, by}}
      :gate -> {Keyed.unlimited_pool(), {:gate, gate, by}}
      _limiter_or_ban -> {Keyed.unlimited_pool(), {:turn, gate, by}}
    end
  end
end
