defmodule Penstock.Audit.Rules.ReleaseVMArgs do
  @moduledoc false
  # PS020: flags of the VM as an option of a release, which Mix ignores.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Config.Literal
  alias Penstock.Audit.Rules.Configuration

  @impl true
  def id, do: "PS020"

  @impl true
  def title, do: "Flags of the VM in an option that releases do not have"

  @impl true
  def why do
    "Mix ignores vm_args: in a release without a word, so the VM starts with its defaults. Flags belong into " <>
      "rel/vm.args.eex, which mix release.init makes."
  end

  @impl true
  def default_severity, do: :high

  @impl true
  def check_file(%{kind: :mix_exs} = file) do
    file.quoted
    |> Literal.collect(&releases/1)
    |> Enum.flat_map(&options/1)
    |> Enum.uniq_by(fn {key, _value} -> {Literal.line(key), Literal.column(key)} end)
    |> Enum.map(&finding(&1, file))
  end

  def check_file(_file), do: []

  # `releases: [...]`, or a function of this name that returns the list.
  defp releases({{:__block__, _, [:releases]}, value}), do: [value]

  defp releases({kind, _meta, [{:releases, _, _args}, body]}) when kind in [:def, :defp] do
    for {:do, _key, value} <- Literal.pairs(body), do: value
  end

  defp releases(_node), do: []

  # Each release has its options, so those are two levels down.
  defp options(releases) do
    for {_name, _key, options} <- Literal.pairs(releases),
        {:vm_args, key, value} <- Literal.pairs(options),
        do: {key, value}
  end

  defp finding({key, value}, file) do
    flags? =
      match?({:ok, text} when is_binary(text), Literal.value(value)) and value |> Literal.value() |> elem(1) =~ "+P"

    place = %{line: Literal.line(key), column: Literal.column(key)}
    lost = if flags?, do: ", so the process limit that it names is not set", else: ""

    Configuration.finding(
      __MODULE__,
      file,
      place,
      if(flags?, do: :high, else: :medium),
      "#{file.path} gives a release the option vm_args:, which releases do not have#{lost}",
      {:vm_args, value}
    )
  end
end
