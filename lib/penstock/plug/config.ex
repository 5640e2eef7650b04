defmodule Penstock.Plug.Config do
  # Reads the options of `Penstock.Plug` and `Penstock.Plug.Limit`. Runs when a plug is initialised.
  #
  # Plug may initialise a plug at compile time and write the result into the code, which is not
  # possible for an anonymous fun. So a fun of `Penstock.Plug.client/1` becomes a `{module, function,
  # args}` here.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.Options
  alias Penstock.Plug.Forwarded

  # gate         - the gate to ask
  # key          - a function of the conn, as a fun or {module, function, args}; or :none
  # keys         - functions of the conn, by the names of the limits whose keys they return
  # cost         - a number, or a function of the conn
  # timeout      - ms to wait for permits; or :infinity
  # skip         - a function of the conn: requests for which it returns true do not ask; or nil
  # dry_run      - whether refused requests are served all the same
  # refuse_after - ms by which a refusal is held back
  # on_reject    - a function of the conn and the reason that returns a conn; or nil
  # headers      - whether responses have the header fields of rate limits
  # to           - the plug behind the gate and its initialised options; or nil
  defstruct [:gate, :key, :keys, :cost, :timeout, :skip, :dry_run, :refuse_after, :on_reject, :headers, to: nil]

  @type function_of_conn :: (map -> term) | {module, atom, [term]}
  @type t :: %__MODULE__{
          gate: Penstock.gate(),
          key: function_of_conn | :none,
          keys: %{atom => function_of_conn},
          cost: pos_integer | function_of_conn,
          timeout: timeout,
          skip: function_of_conn | nil,
          dry_run: boolean,
          refuse_after: non_neg_integer,
          on_reject: (map, term -> map) | {module, atom, [term]} | nil,
          headers: boolean,
          to: {module, term} | nil
        }

  @options [:gate, :key, :keys, :cost, :skip, :dry_run, :refuse_after, :on_reject, :headers]
  @example "{Penstock.Plug, to: MyApp.Router, gate: MyApp.Requests}"

  # The longest time, in ms, for which a refusal can be held back: servers give up after a minute.
  @longest_delay 60_000

  # Reads the options; `others` are allowed too.
  @spec read!(term, [atom]) :: t
  def read!(opts, others) do
    opts = Options.known!(opts, @options ++ others)

    %__MODULE__{
      gate: gate!(Options.fetch!(opts, :gate, @example)),
      key: key!(Keyword.get(opts, :key, {Penstock.Plug, :client, []})),
      keys: keys!(Keyword.get(opts, :keys, %{})),
      cost: cost!(Keyword.get(opts, :cost, 1)),
      timeout: Options.timeout!(Keyword.get(opts, :timeout, 0)),
      skip: optional!(Keyword.get(opts, :skip), ":skip", 1),
      dry_run: boolean!(Keyword.get(opts, :dry_run, false), ":dry_run"),
      refuse_after: delay!(Keyword.get(opts, :refuse_after, 0)),
      on_reject: optional!(Keyword.get(opts, :on_reject), ":on_reject", 2),
      headers: boolean!(Keyword.get(opts, :headers, true), ":headers")
    }
  end

  # Calls a function that the options name, with these first arguments.
  @spec apply_to(function_of_conn | fun, [term]) :: term
  def apply_to(fun, args) when is_function(fun), do: apply(fun, args)
  def apply_to({module, function, more}, args), do: apply(module, function, args ++ more)

  defp gate!(gate) do
    _ref = Resolver.ref!(gate)
    if gate in [nil, true, false], do: Resolver.not_a_gate!(gate)
    gate
  end

  defp key!(:none), do: :none
  defp key!(key), do: function!(key, ":key", 1, ", or :none")

  defp keys!(keys) when is_map(keys) and not is_struct(keys) do
    Map.new(keys, fn {name, key} ->
      unless is_atom(name), do: Options.expected!("each name in :keys", "the name of a limit", name)
      {name, function!(key, "the key of #{inspect(name)} in :keys", 1, "")}
    end)
  end

  defp keys!(keys), do: Options.expected!(":keys", "a map of the names of limits to functions of a conn", keys)

  defp cost!(cost) when is_function(cost) or is_tuple(cost), do: function!(cost, ":cost", 1, ", or a number")
  defp cost!(cost), do: Options.permits!(cost, ":cost")

  defp optional!(nil, _name, _arity), do: nil
  defp optional!(function, name, arity), do: function!(function, name, arity, "")

  defp function!(fun, _name, 1, _or) when is_function(fun, 1), do: Forwarded.as_mfa(fun)
  defp function!(fun, _name, arity, _or) when is_function(fun, arity), do: fun
  defp function!({m, f, args} = mfa, _name, _arity, _or) when is_atom(m) and is_atom(f) and is_list(args), do: mfa

  defp function!(other, name, arity, or_what) do
    of = if arity == 1, do: "a conn", else: "a conn and a reason"
    Options.expected!(name, "a function of #{of}, {module, function, args}#{or_what}", other)
  end

  defp delay!(ms) when is_integer(ms) and ms in 0..@longest_delay, do: ms
  defp delay!(other), do: Options.expected!(":refuse_after", "a number of ms between 0 and #{@longest_delay}", other)

  defp boolean!(value, _name) when is_boolean(value), do: value
  defp boolean!(value, name), do: Options.expected!(name, "true or false", value)
end
