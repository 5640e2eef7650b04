defmodule Penstock.Audit.Rules.LowProcessLimit do
  @moduledoc false
  # PS021: limits whose sum comes near a process limit that the project has not set.

  @behaviour Penstock.Audit.Rule

  alias Penstock.Audit.Rules.{Configuration, ExcessiveLimit}

  # Servers, libraries and the VM need the other processes.
  @share 0.75

  @impl true
  def id, do: "PS021"

  @impl true
  def title, do: "Limits that need a higher process limit"

  @impl true
  def why do
    "At the process limit each spawn fails, also those of supervisors and of the shell. +P in rel/vm.args.eex sets it; " <>
      "Penstock.VM.recommend/0 says to what."
  end

  @impl true
  def default_severity, do: :medium

  @impl true
  def check_file(%{facts: %{limit_set?: true}}), do: []

  def check_file(%{facts: facts} = file) do
    limits = ExcessiveLimit.limits(facts)
    sum = limits |> Enum.map(& &1.number) |> Enum.sum()
    # A limit that exceeds it alone is a finding of PS024.
    single? = Enum.any?(limits, &(&1.number > facts.process_limit))

    if length(limits) > 0 and sum >= facts.process_limit * @share and not single? do
      limits |> Enum.max_by(& &1.number) |> finding(file, sum, length(limits))
    else
      []
    end
  end

  # The project has one finding, at its highest limit.
  defp finding(%{file: path} = limit, %{path: path} = file, sum, count) do
    message =
      "#{path} has #{limit.what} of #{Configuration.show(limit.number)}, with which #{count} limits allow " <>
        "#{Configuration.show(sum)} processes; the process limit is #{Configuration.show(file.facts.process_limit)}, the default"

    [Configuration.finding(__MODULE__, file, limit, :medium, message, {limit.what, limit.number})]
  end

  defp finding(_limit, _file, _sum, _count), do: []
end
