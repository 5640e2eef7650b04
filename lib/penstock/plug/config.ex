defmodule Penstock.Plug.Config do
  # Reads the options of `Penstock.Plug` and `Penstock.Plug.Limit`. Runs when a plug is initialised.
  #
  # Plug may initialise a plug at compile time and write the result into the code, which is not
  # possible for an anonymous fun. So a fun of `Penstock.Plug.client/1` becomes a `{module, function,
  # args}` here.
  @moduledoc false

  alias Penstock.Edge.{Delay, Query}
  alias Penstock.Options
  alias Penstock.Plug.Forwarded

  # query        - what the gate is asked. Its key is :client by default: that of the client's address
  # skip         - a function of the conn: requests for which it returns true do not ask; or nil
  # dry_run      - whether refused requests are served all the same
  # refuse_after - ms by which a refusal is held back
  # on_reject    - a function of the conn and the reason that returns a conn; or nil
  # headers      - whether responses have the header fields of rate limits
  # to           - the plug behind the gate and its initialised options; or nil
  defstruct [:query, :skip, :dry_run, :refuse_after, :on_reject, :headers, to: nil]

  @type t :: %__MODULE__{
          query: Query.t(:client),
          skip: Query.function_of_subject() | nil,
          dry_run: boolean,
          refuse_after: non_neg_integer,
          on_reject: (map, term -> map) | {module, atom, [term]} | nil,
          headers: boolean,
          to: {module, term} | nil
        }

  @options [:gate, :key, :keys, :cost, :skip, :dry_run, :refuse_after, :on_reject, :headers]

  # Reads the options; `others` are allowed too. `example` is a line of code with all required options,
  # for messages.
  @spec read!(term, [atom], String.t()) :: t
  def read!(opts, others, example) do
    opts = Options.known!(opts, @options ++ others)
    query = Query.read!(opts, :client, "a conn", example)

    %__MODULE__{
      query: %{query | key: Forwarded.as_mfa(query.key), keys: Map.new(query.keys, &as_mfa/1)},
      skip: optional!(Keyword.get(opts, :skip), ":skip", 1, "a conn"),
      dry_run: Options.boolean!(Keyword.get(opts, :dry_run, false), ":dry_run"),
      refuse_after: Delay.ms!(Keyword.get(opts, :refuse_after, 0)),
      on_reject: optional!(Keyword.get(opts, :on_reject), ":on_reject", 2, "a conn and a reason"),
      headers: Options.boolean!(Keyword.get(opts, :headers, true), ":headers")
    }
  end

  defp as_mfa({name, function}), do: {name, Forwarded.as_mfa(function)}

  defp optional!(nil, _name, _arity, _of), do: nil
  defp optional!(function, name, arity, of), do: Query.function!(function, name, arity, of, "")
end
