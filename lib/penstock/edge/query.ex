defmodule Penstock.Edge.Query do
  # The options by which a module at the edge asks its gate: `:gate`, `:key`, `:keys`, `:cost` and
  # `:timeout`. Functions in these options get the *subject*, such as the info of a socket.
  @moduledoc false

  alias Penstock.Admission.{KeySize, Request, Resolver}
  alias Penstock.{Native, Options}
  alias Penstock.Test.Ownership.Seam

  require Seam

  # gate    - the gate to ask
  # key     - a function of the subject; or :none, or what the calling module has by default
  # keys    - functions of the subject, by the names of the limits whose keys they return
  # cost    - a number, or a function of the subject
  # timeout - ms to wait for permits; or :infinity
  defstruct [:gate, :key, :keys, :cost, :timeout]

  @type function_of_subject :: (term -> term) | {module, atom, [term]}
  @type t(default_key) :: %__MODULE__{
          gate: Penstock.gate(),
          key: function_of_subject | :none | default_key,
          keys: %{atom => function_of_subject},
          cost: pos_integer | function_of_subject,
          timeout: timeout
        }

  @options [:gate, :key, :keys, :cost, :timeout]

  # Returns the names of the options that `read!/4` reads.
  @spec options() :: [atom]
  def options, do: @options

  # Reads the options. `subject` is the word for the subject, and `example` a line of code with all
  # required options; both are for messages.
  @spec read!(keyword, key, String.t(), String.t()) :: t(key) when key: atom
  def read!(opts, default_key, subject, example) do
    %__MODULE__{
      gate: gate!(Options.fetch!(opts, :gate, example)),
      key: key!(Keyword.get(opts, :key, default_key), default_key, subject),
      keys: keys!(Keyword.get(opts, :keys, %{}), subject),
      cost: cost!(Keyword.get(opts, :cost, 1), subject),
      timeout: Options.timeout!(Keyword.get(opts, :timeout, 0))
    }
  end

  # Returns the request for a subject, without a key if `:key` is no function. Calls the functions
  # of the options, and does not rescue their errors.
  @spec request(t(atom), term) :: Request.t()
  def request(query, subject) do
    request = %Request{timeout: query.timeout, cost: cost(query.cost, subject), keys: keys(query.keys, subject)}
    if is_atom(query.key), do: request, else: Request.put!(request, :key, call(query.key, [subject]))
  end

  # Returns the limits of the running gate that go by a key, and whose keys `:keys` does not name.
  @spec limits_without_key(t(atom)) :: [atom]
  def limits_without_key(query) do
    ref = Resolver.ref!(Seam.gate(query.gate))

    for limit <- limits(ref, Resolver.kind(ref)),
        Resolver.kind(limit) in [:keyed_pool, :limiter, :ban],
        not is_map_key(query.keys, Seam.public(limit)),
        do: Seam.public(limit)
  end

  defp limits(ref, :gate) do
    case Native.gate_info(ref) do
      {limits, _shed_at, _counts} -> limits
      # The gate has ended since its kind was read.
      :no_pool -> []
    end
  end

  defp limits(ref, _kind), do: [ref]

  defp cost(cost, _subject) when is_integer(cost), do: cost
  defp cost(cost, subject), do: Options.permits!(call(cost, [subject]), ":cost")

  defp keys(keys, _subject) when keys == %{}, do: %{}

  defp keys(keys, subject) do
    Map.new(keys, fn {name, function} ->
      key = call(function, [subject])
      if key == nil, do: KeySize.nil_key!("the key of #{inspect(name)} in :keys")
      KeySize.check!(key)
      {name, key}
    end)
  end

  # Calls a function that the options name, with these first arguments.
  @spec call(fun | {module, atom, [term]}, [term]) :: term
  def call({module, function, more}, args), do: apply(module, function, args ++ more)
  def call(fun, args), do: apply(fun, args)

  defp gate!(gate) do
    _ref = Resolver.ref!(gate)
    if gate in [nil, true, false], do: Resolver.not_a_gate!(gate)
    gate
  end

  defp key!(key, default_key, _subject) when key in [:none, default_key], do: key
  defp key!(key, _default_key, subject), do: function!(key, ":key", 1, subject, ", or :none")

  defp keys!(keys, subject) when is_map(keys) and not is_struct(keys) do
    Map.new(keys, fn {name, key} ->
      unless is_atom(name), do: Options.expected!("each name in :keys", "the name of a limit", name)
      {name, function!(key, "the key of #{inspect(name)} in :keys", 1, subject, "")}
    end)
  end

  defp keys!(keys, subject) do
    Options.expected!(":keys", "a map of the names of limits to functions of #{subject}", keys)
  end

  defp cost!(cost, subject) when is_function(cost) or is_tuple(cost),
    do: function!(cost, ":cost", 1, subject, ", or a number")

  defp cost!(cost, _subject), do: Options.permits!(cost, ":cost")

  # Checks a function of the arity `arity`, whose arguments `of` describes in messages.
  @spec function!(term, String.t(), pos_integer, String.t(), String.t()) :: fun | {module, atom, [term]}
  def function!(fun, _name, arity, _of, _or) when is_function(fun, arity), do: fun

  def function!({m, f, args} = mfa, _name, _arity, _of, _or) when is_atom(m) and is_atom(f) and length(args) >= 0,
    do: mfa

  def function!(other, name, _arity, of, or_what) do
    Options.expected!(name, "a function of #{of}, {module, function, args}#{or_what}", other)
  end
end
