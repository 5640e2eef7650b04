defmodule Penstock.Audit.Walk.Result do
  @moduledoc false
  # Where the result of a call comes from.

  alias Penstock.Audit.{Known, Origin}

  @takes [:take, :slice, :take_random, :split]
  @chunks [:chunk_every, :chunk]
  @same_count [:map, :with_index, :zip, :map_reduce, :reverse, :sort, :sort_by, :shuffle]
  # Functions of Stream that call a function until their consumer stops.
  @endless [:repeatedly, :iterate, :unfold, :resource, :cycle, :interval]
  @elements [:at, :fetch!, :find, :random, :max, :min, :max_by, :min_by, :find_value]
  @joins [:concat, :zip, :into, :intersperse, :reduce, :zip_with]

  @doc "Returns whether a function of Stream calls a function until its consumer stops."
  def endless?(name), do: name in @endless

  @doc "Returns the origin of the result of a call with arguments of the given origins."
  def origin({module, name, _arity} = mfa, args, origins, state) do
    first = List.first(origins) || Origin.fixed()

    cond do
      Known.fixed?(mfa) ->
        Origin.fixed()

      Known.reads_outside?(mfa) ->
        Origin.outside()

      # The application chose whom it asked.
      Known.reads_answer?(mfa) ->
        Origin.argument()

      # The caller that chooses the file decides how many lines it has.
      Known.reads_file?(mfa) ->
        Origin.part(first)

      Known.measures(mfa) == :size ->
        Origin.counted(first)

      Known.measures(mfa) == :digest ->
        Origin.own()

      module in [Enum, Stream] ->
        enumerated(name, args, origins, first)

      module in [Map, Keyword, Access] and name in [:get, :fetch, :fetch!, :pop] ->
        Origin.part(first)

      Known.passes?(mfa) ->
        Origin.join_all(origins)

      returns = module == state.scope.module && state.returns[{name, length(args)}] ->
        Origin.apply(returns, origins)

      # A local function, a macro, or a function of an import.
      module in [nil, state.scope.module] ->
        args
        |> Enum.zip(origins)
        |> Enum.reject(&carrier?/1)
        |> Enum.map(&elem(&1, 1))
        |> Origin.join_all()
        |> Origin.at_least_own()

      # A function of another module returns its own data, with any arguments.
      true ->
        Origin.own()
    end
  end

  # A helper that gets all of a connection or a state mostly returns what the application put there.
  defp carrier?({{name, _meta, context}, _origin}), do: name in [:conn, :socket, :state] and is_atom(context)
  defp carrier?(_arg), do: false

  defp enumerated(name, args, origins, first) do
    cond do
      name in @takes and fixed_size?(args) -> Origin.limited(first)
      name in @chunks -> Origin.chunked(first)
      name in @same_count -> Origin.mapped(first, Origin.own())
      name in @elements -> Origin.element(first)
      name in @endless -> Origin.argument()
      name in @joins -> Origin.join_all(origins)
      true -> first
    end
  end

  defp fixed_size?([_collection, count | _rest]), do: is_integer(count) or match?({:@, _, _}, count)
  defp fixed_size?(_args), do: false
end
