defmodule Penstock.Audit.Format do
  @moduledoc false
  # Renders the result of an audit. A format is a module with `render/2`.
  #
  # A result may have two keys more than `Penstock.Audit.run/2` promises: `:suppressed`, what a comment or
  # the baseline hides, and `:baseline`, how many findings the baseline hides and which of its entries are gone.

  alias Penstock.Audit.Format.{JSON, Sarif, Text}

  @formats %{"text" => Text, "json" => JSON, "sarif" => Sarif}

  @doc "Returns the names of the formats."
  @spec names() :: [String.t()]
  def names, do: @formats |> Map.keys() |> Enum.sort()

  @doc "Returns the text of a result in the format `name`, where `rules` are the modules of all rules."
  @spec render(String.t(), map, [module]) :: iodata
  def render(name, result, rules), do: Map.fetch!(@formats, name).render(result, rules)
end
