defmodule Penstock.Audit.Rules.OutsideAtom do
  @moduledoc false
  # PS007: atoms from outside data.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.{Entries, Origin, Rewrite}
  alias Penstock.Audit.Reach.Levels
  alias Penstock.Audit.Rules.Code

  @makers %{
    {String, :to_atom} => {"String.to_atom(", "String.to_existing_atom("},
    {List, :to_atom} => {"List.to_atom(", "List.to_existing_atom("},
    {:erlang, :binary_to_atom} => {"binary_to_atom(", "binary_to_existing_atom("},
    {:erlang, :list_to_atom} => {"list_to_atom(", "list_to_existing_atom("},
    {Module, :concat} => {"Module.concat(", "Module.safe_concat("}
  }

  @decoders [{Jason, :decode}, {Jason, :decode!}, {Poison, :decode}, {Poison, :decode!}, {Poison, :Parser}]
  @terms [{:erlang, :binary_to_term}, {Plug.Crypto, :non_executable_binary_to_term}]

  @impl true
  def id, do: "PS007"

  @impl true
  def title, do: "Atoms from outside data"

  @impl true
  def why,
    do:
      "Atoms are never removed, and the node stops when their table is full. Outside data must only name atoms that exist."

  @impl true
  def default_severity, do: :high

  @impl true
  def check(module) do
    for {function, call} <- Code.calls(module),
        {what, rewrite} <- List.wrap(maker(call)),
        severity = severity(module, function, call) do
      Code.finding(
        __MODULE__,
        module,
        function,
        call,
        severity,
        "makes atoms of #{source(severity)} by #{what}",
        rewrite(module, call, rewrite)
      )
    end
  end

  defp maker(%{mfa: {module, name, arity} = mfa, args: args}) do
    key = {module, name}

    cond do
      key == {:erlang, :binary_to_atom} and match?([{:<<>>, _, _} | _], args) ->
        {"an interpolated atom", nil}

      Map.has_key?(@makers, key) and arity <= 2 ->
        {Code.called(mfa), Map.fetch!(@makers, key)}

      key in @terms and not safe?(args) ->
        {Code.called(mfa) <> " without :safe", if(arity == 1, do: :safe)}

      key in @decoders and atom_keys?(args) ->
        {Code.called(mfa) <> " with keys: :atoms", {"keys: :atoms", "keys: :atoms!"}}

      true ->
        nil
    end
  end

  defp safe?([_binary, opts]) when is_list(opts), do: :safe in opts
  defp safe?([_binary, _opts]), do: true
  defp safe?(_args), do: false

  defp atom_keys?([_text, opts]) when is_list(opts), do: Keyword.keyword?(opts) and opts[:keys] == :atoms
  defp atom_keys?(_args), do: false

  # A condition that compares the value with a list or a table bounds the atoms.
  defp severity(module, function, call) do
    level =
      call.origins
      |> Enum.with_index()
      |> Enum.map(fn {_origin, index} -> Levels.value(module.reach, function, call, index) end)
      |> Enum.max(fn -> 0 end)

    bounded? = Enum.any?(call.frames, fn {_id, kind, data} -> kind == :guard and data in [:member, :exists, :limit] end)

    cond do
      bounded? or function.kind in [:defmacro, :defmacrop] -> nil
      level >= Origin.outside_level() -> if(entered?(module) or read_here?(call), do: :high, else: :medium)
      # Modules are joined from modules far more often than from data.
      elem(call.mfa, 0) == Module -> nil
      level == Origin.argument_level() and not startup?(function) -> :medium
      true -> nil
    end
  end

  # On a long way through other modules, parts of a value are no longer told from all of it.
  defp entered?(module),
    do: Enum.any?(module.functions, fn {_key, function} -> Entries.levels(module, function) != nil end)

  # The function itself, or a function of its module that it calls, has read the data.
  defp read_here?(call), do: Enum.any?(call.origins, &(Origin.value_level(&1, %{}) >= Origin.outside_level()))

  defp startup?(function), do: function.name in [:__using__, :__before_compile__, :init, :child_spec, :start_link]

  defp source(:high), do: "outside data"
  defp source(_medium), do: "an argument"

  defp rewrite(_module, _call, nil), do: nil
  defp rewrite(module, call, {from, to}), do: Rewrite.line(module.lines, call.line, from, to)
  defp rewrite(module, call, :safe), do: Rewrite.append(module.lines, call.line, "binary_to_term(", "[:safe]")
end
