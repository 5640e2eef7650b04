defmodule Penstock.Install.Settings do
  # The pool that `mix penstock.install` adds: its name and its limit.
  @moduledoc false

  alias Penstock.Options

  @enforce_keys [:name, :limit]
  defstruct @enforce_keys

  @type t :: %__MODULE__{name: String.t(), limit: pos_integer}

  @default_limit 100
  @max_limit 2_147_483_647

  @doc "Reads the options of the command line. `prefix` is the namespace of the project, as \"MyApp\"."
  @spec read(keyword, String.t()) :: {:ok, t} | {:error, String.t()}
  def read(opts, prefix) do
    with {:ok, name} <- name(opts[:name] || prefix <> ".Jobs"),
         {:ok, limit} <- limit(opts[:limit] || @default_limit) do
      {:ok, %__MODULE__{name: name, limit: limit}}
    end
  end

  defp name("Elixir." <> name), do: name(name)

  # An atom has at most 255 characters, and the prefix of an alias is one of 7.
  defp name(name) do
    if name =~ ~r/\A[A-Z][A-Za-z0-9_]*(\.[A-Z][A-Za-z0-9_]*)*\z/ and byte_size(name) < 248 do
      {:ok, name}
    else
      {:error, "expected --name to be the name of a module, such as MyApp.Jobs, got: #{Options.show(name)}"}
    end
  end

  defp limit(limit) when limit in 1..@max_limit, do: {:ok, limit}

  defp limit(limit) do
    {:error, "expected --limit to be an integer between 1 and #{@max_limit}, got: #{Options.show(limit)}"}
  end

  @doc "Says that an argument is no option."
  @spec argument(String.t()) :: String.t()
  def argument(argument), do: "this task takes options only, got: #{Options.show(argument)}"

  @doc "Returns the child spec as source text."
  @spec child(t) :: String.t()
  def child(%__MODULE__{} = settings), do: "{Penstock.Pool, #{options(settings)}}"

  @doc "Returns the options of the pool as source text."
  @spec options(t) :: String.t()
  def options(%__MODULE__{name: name, limit: limit}), do: "name: #{name}, limit: #{grouped(limit)}"

  # Writes 10000 as 10_000, which is how the formatter of Elixir writes it.
  defp grouped(limit) when limit < 10_000, do: Integer.to_string(limit)
  defp grouped(limit), do: limit |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+\z)/, "_")
end
