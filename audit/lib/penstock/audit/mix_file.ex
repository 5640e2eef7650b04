defmodule Penstock.Audit.MixFile do
  @moduledoc false
  # Reads the name of the application and the directories of its sources from the text of a mix.exs, whose
  # code is not run here. A value that code computes is not known.

  @doc "Returns the code of the mix.exs in `root`, or nil."
  @spec read(Path.t()) :: Macro.t()
  def read(root) do
    with {:ok, text} <- File.read(Path.join(root, "mix.exs")),
         {:ok, quoted} <- Code.string_to_quoted(text, emit_warnings: false) do
      quoted
    else
      _none -> nil
    end
  rescue
    # Some texts make the tokenizer of old versions raise.
    _error -> nil
  end

  @doc "Returns the name of the application, or nil."
  @spec app(Macro.t()) :: String.t() | nil
  def app(quoted) do
    case collect(quoted, &app_value/1) do
      [name | _] when is_atom(name) -> Atom.to_string(name)
      [{:@, _, [{name, _, _}]} | _] -> quoted |> collect(&attribute(&1, name)) |> List.first()
      _none -> nil
    end
  end

  # An option of a dependency has this name too, with the value false.
  defp app_value({:app, value}) when value not in [false, true, nil], do: [value]
  defp app_value(_node), do: []

  defp attribute({:@, _, [{name, _, [value]}]}, name) when is_atom(value), do: [Atom.to_string(value)]
  defp attribute(_node, _name), do: []

  @doc "Returns the directories that the option `:elixirc_paths` names for other environments than that of tests."
  @spec sources(Macro.t()) :: [String.t()]
  def sources(quoted), do: quoted |> collect(&directories/1) |> Enum.reject(&(&1 =~ ~r{^test(/|$)})) |> Enum.uniq()

  defp directories({:elixirc_paths, list}) when is_list(list), do: Enum.filter(list, &is_binary/1)

  defp directories({kind, _, [{:elixirc_paths, _, [env]}, body]}) when kind in [:def, :defp] and env != :test,
    do: collect(body, &List.wrap(if(is_binary(&1), do: &1)))

  defp directories(_node), do: []

  defp collect(quoted, fun) do
    {_quoted, found} = Macro.prewalk(quoted, [], fn node, found -> {node, [fun.(node) | found]} end)
    found |> Enum.reverse() |> Enum.concat()
  end
end
