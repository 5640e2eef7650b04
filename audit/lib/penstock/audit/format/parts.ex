defmodule Penstock.Audit.Format.Parts do
  @moduledoc false
  # Functions that several formats need.

  alias Penstock.Audit.Finding

  @type suppressed :: %{finding: Finding.t(), by: :comment | :baseline, reason: String.t()}

  @doc ~S'Returns `"Module.function/arity"`, or nil.'
  @spec function({module, atom, arity} | nil) :: String.t() | nil
  def function(nil), do: nil
  def function({module, name, arity}), do: Exception.format_mfa(module, name, arity)

  @doc "Returns what comments and the baseline hide."
  @spec suppressed(map) :: [suppressed]
  def suppressed(result), do: Map.get(result, :suppressed, [])

  @doc "Returns the texts between the line feeds of a file, or an empty list if it cannot be read."
  @spec lines(Path.t()) :: [String.t()]
  def lines(path) do
    case File.read(path) do
      {:ok, text} -> String.split(text, "\n")
      {:error, _reason} -> []
    end
  end
end
