defmodule Penstock.Plug.Check do
  # Checks a gate of a plug once. Plugs may be initialised at compile time or before the gate is
  # started, so the first request checks a gate that was not running then.
  @moduledoc false

  alias Penstock.Admission.Resolver
  alias Penstock.{Native, Options}
  alias Penstock.Plug.Config
  alias Penstock.Test.Ownership.Seam

  require Logger
  require Seam

  @keyed [:keyed_pool, :limiter, :ban]

  # Warns if nothing of a gate around whole requests goes by a key. Called when the plug is
  # initialised.
  @spec warn(Config.t()) :: :ok
  def warn(%Config{query: %{key: :none}}), do: :ok
  def warn(%Config{query: %{gate: gate}} = config) when is_atom(gate), do: warn_once(config)
  # An unnamed pool is always there, so no request needs to check it.
  def warn(%Config{query: %{gate: pool}}), do: warn_of(pool, [:pool])

  # Warns as `warn/1`, once for each name of a gate. Called for each request.
  @spec warn_once(Config.t()) :: :ok
  def warn_once(%Config{query: %{gate: gate, key: key}}) when key == :none or not is_atom(gate), do: :ok

  def warn_once(%Config{query: %{gate: gate}}) do
    with false <- :persistent_term.get({__MODULE__, gate}, false),
         kinds when kinds != nil <- kinds(Seam.gate(gate)) do
      # The term is new, so the VM does not search the heaps of processes for an old one.
      :persistent_term.put({__MODULE__, gate}, true)
      warn_of(gate, kinds)
    end

    :ok
  end

  defp warn_of(gate, kinds) do
    unless Enum.any?(kinds, &(&1 in @keyed)) do
      Logger.warning(
        "the gate #{Options.show(gate)} is around whole requests, and none of its limits goes by a key. So one client can " <>
          "take all its permits and lock out the others. Put a Penstock.KeyedPool in front: see Penstock.Gate. " <>
          "key: :none says that this is meant"
      )
    end

    :ok
  end

  # Raises if a running gate has limits that hold permits.
  @spec holds_nothing!(Config.t()) :: :ok
  def holds_nothing!(%Config{query: %{gate: gate}}) do
    case Enum.find(kinds(Seam.gate(gate)) || [], &(&1 in [:pool, :keyed_pool])) do
      nil -> :ok
      kind -> holds_permits!(gate, kind)
    end
  end

  @spec holds_permits!(Penstock.gate(), atom) :: no_return
  def holds_permits!(gate, kind \\ :pool) do
    word = if kind == :pool, do: "pool", else: "keyed pool"

    raise ArgumentError,
          "the gate #{Options.show(gate)} of Penstock.Plug.Limit is or has a #{word}, whose permits a plug in a pipeline " <>
            "could not give back. Put Penstock.Plug around the whole application for it"
  end

  # Returns the kinds of the limits of a gate; nil if it is not running.
  defp kinds(gate) do
    case Resolver.kind(Resolver.ref!(gate)) do
      nil -> nil
      :gate -> kinds_of_limits(Native.gate_info(gate))
      kind -> [kind]
    end
  end

  defp kinds_of_limits({limits, _shed_at, _counts}), do: Enum.map(limits, &Resolver.kind/1)
  defp kinds_of_limits(:no_pool), do: nil
end
