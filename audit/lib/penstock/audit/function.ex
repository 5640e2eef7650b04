defmodule Penstock.Audit.Function do
  @moduledoc false
  # A function of a module, with all calls of its clauses.
  #
  # `awaits` has the ids of the frames inside of which the function waits for processes, and
  # `awaits?` says whether it waits for a task, `receives?` whether it waits for a message. `reads` are the
  # names of variables that it reads, and `quoted` what the quotes of a macro create.

  defstruct module: nil,
            name: nil,
            arity: 0,
            defaults: 0,
            kind: :def,
            line: 1,
            impl?: false,
            clauses: [],
            calls: [],
            awaits: MapSet.new(),
            awaits?: false,
            receives?: false,
            reads: MapSet.new(),
            specs: [],
            quoted: []

  @type t :: %__MODULE__{}

  @doc "Returns `{module, name, arity}`."
  @spec mfa(t) :: {module, atom, arity}
  def mfa(function), do: {function.module, function.name, function.arity}

  @doc "Returns the name of a function as text."
  @spec show({module, atom, arity}) :: String.t()
  def show({module, name, arity}), do: "#{inspect(module)}.#{name}/#{arity}"
end
