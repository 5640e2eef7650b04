defmodule Penstock.VM.Config do
  # Reads `config :penstock, vm: [...]`, and checks it when the application starts.
  @moduledoc false

  alias Penstock.Options
  alias Penstock.VM.Levels

  @enforce_keys [:interval, :shares, :shedding]
  defstruct @enforce_keys

  # `shares`: for each resource whose level is measured, the shares of its levels.
  # `shedding`: the resources whose levels are part of the pressure.
  @type t :: %__MODULE__{interval: pos_integer, shares: %{atom => Levels.shares()}, shedding: [atom]}

  @levels [elevated: 0.5, high: 0.75, critical: 0.9]
  @level_names Keyword.keys(@levels)
  @resources [:processes, :ports, :atoms, :ets, :memory]
  @interval 100
  @max_interval 60_000
  # A level is left 0.05 below its share, so the lowest share is above that.
  @least_share 0.05

  # Atoms are never freed. If they shed work by default, a node would never admit any again.
  @sheds_if_named [:atoms]

  @spec read() :: {:ok, t} | {:error, String.t()}
  def read, do: read(Application.get_env(:penstock, :vm, []))

  @spec read(term) :: {:ok, t} | {:error, String.t()}
  def read(vm) do
    {:ok, check!(vm)}
  rescue
    wrong in ArgumentError -> {:error, "wrong configuration `config :penstock, vm: ...`: " <> wrong.message}
  end

  defp check!(vm) do
    vm = Options.known!(vm, @level_names ++ [:interval, :resources | Levels.resources()])

    {named?, resources} =
      case Keyword.fetch(vm, :resources) do
        {:ok, resources} -> {true, resources!(resources)}
        :error -> {false, @resources}
      end

    levels = levels!(vm, "", @levels)

    # Checks the shares of all resources, so that a wrong share of an unused one is found, too.
    own = for resource <- Levels.resources(), into: %{}, do: {resource, own!(vm, resource, levels)}

    %__MODULE__{
      interval: interval!(Keyword.get(vm, :interval, @interval)),
      shares: Map.take(own, resources),
      shedding: if(named?, do: resources, else: resources -- @sheds_if_named)
    }
  end

  defp own!(vm, resource, levels) do
    own = Keyword.get(vm, resource, [])

    unless Keyword.keyword?(own),
      do: Options.expected!("#{inspect(resource)}", "a keyword list such as [high: 0.6]", own)

    levels = levels!(Options.known!(own, @level_names), " of #{inspect(resource)}", levels)
    List.to_tuple(for level <- @level_names, do: levels[level])
  end

  defp levels!(given, whose, defaults) do
    levels = for level <- @level_names, do: {level, share!(Keyword.get(given, level, defaults[level]), level, whose)}

    unless levels[:elevated] < levels[:high] and levels[:high] < levels[:critical] do
      Options.expected!("the levels#{whose}", "in ascending order (elevated, high, critical)", levels)
    end

    levels
  end

  defp share!(share, _level, _whose) when is_number(share) and share > @least_share and share <= 1, do: share * 1.0

  defp share!(share, level, whose) do
    Options.expected!("#{inspect(level)}#{whose}", "a number above #{@least_share} and up to 1.0", share)
  end

  defp resources!(resources) do
    all = Levels.resources()
    known = Enum.map_join(all, ", ", &inspect/1)

    unless is_list(resources) and not List.improper?(resources) and resources -- all == [] do
      Options.expected!(":resources", "a list of some of #{known}, each once", resources)
    end

    resources
  end

  defp interval!(ms) when is_integer(ms) and ms in 1..@max_interval, do: ms

  defp interval!(other) do
    Options.expected!(":interval", "a number of milliseconds between 1 and #{@max_interval}", other)
  end
end
