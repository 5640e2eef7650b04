defmodule Penstock.Audit.Named do
  @moduledoc false
  # Servers with a registered name, of which a second start fails: there is one for each name.

  alias Penstock.Audit.{Known, Origin}
  alias Penstock.Audit.Reach.{Graph, Levels}

  @starts [:start, :start_link, :start_monitor]

  @doc "Returns how many servers the start in `call` can make: `:one`, one for each `:key`, or nil for any number."
  def call(%{args: args, origins: origins}) do
    opts = List.last(args)

    with true <- is_list(opts) and Keyword.keyword?(opts),
         {:ok, name} when name != nil <- Keyword.fetch(opts, :name) do
      if literal?(name), do: :one, else: origins |> List.last() |> key()
    else
      _none -> nil
    end
  end

  # A name that the function makes itself may be another one each time.
  defp key({_count, value, _inner}) do
    if match?({0, [_ | _]}, value), do: :key
  end

  defp key(_none), do: nil

  defp literal?({:__aliases__, _, _}), do: true
  defp literal?({:__MODULE__, _, _}), do: true
  defp literal?({:@, _, _}), do: true
  defp literal?({scope, name}) when scope in [:global, :local], do: literal?(name)
  defp literal?(name), do: is_atom(name)

  @doc "Returns the same for the functions of the project that start a server."
  def starts(reach, mfas) do
    names =
      for mfa <- mfas,
          {_module, function} <- List.wrap(reach.functions[mfa]),
          call <- function.calls,
          Known.server_start?(call.mfa),
          do: call(call)

    cond do
      names == [] or nil in names -> nil
      :key in names -> :key
      true -> :one
    end
  end

  @doc "Returns the same for a module that is the child of a supervisor."
  def child(reach, module) do
    mfas = for {{^module, _name, _arity} = mfa, _function} <- reach.functions, Graph.starter?(reach, mfa), do: mfa

    # A child's spec may name another function than the usual one.
    case Enum.filter(mfas, fn {_module, name, _arity} -> name in @starts end) do
      [] -> starts(reach, mfas)
      usual -> starts(reach, usual)
    end
  end

  @doc """
  Returns what a name leaves of the judgement of a start. Keys that an outsider chooses, or the elements
  of a collection, bound nothing.
  """
  def weaken(_names, nil, _reach, _function, _call), do: nil
  def weaken(:one, _judgement, _reach, _function, _call), do: nil

  def weaken(:key, %{kind: :event} = judgement, reach, function, call) do
    levels = for index <- 0..(length(call.origins) - 1)//1, do: Levels.value(reach, function, call, index)
    if Enum.max(levels, fn -> 0 end) <= Origin.own_level(), do: %{judgement | severity: :medium}, else: judgement
  end

  def weaken(_names, judgement, _reach, _function, _call), do: judgement
end
