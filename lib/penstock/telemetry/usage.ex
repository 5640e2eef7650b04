defmodule Penstock.Telemetry.Usage do
  # Tells how much of each gate, and of the VM, is in use now.
  @moduledoc false

  alias Penstock.Telemetry.{Emit, Figures}
  alias Penstock.VM
  alias Penstock.VM.Levels

  @gates %{
    pool: [:penstock, :pool, :usage],
    keyed_pool: [:penstock, :keyed_pool, :usage],
    rate_limiter: [:penstock, :rate_limiter, :usage],
    ban: [:penstock, :ban, :usage]
  }
  @vm [:penstock, :vm, :usage]
  @status [:penstock, :vm, :status]

  # Tells the usage of all gates and of the VM.
  @spec measure(Emit.heard()) :: :ok
  def measure(heard) do
    if gates?(heard), do: Figures.each(&gate(&1, heard))
    vm(heard)
  end

  # Returns whether a handler wants to hear of the usage of gates.
  @spec gates?(Emit.heard()) :: boolean
  def gates?(heard), do: Enum.any?(@gates, fn {_kind, event} -> is_map_key(heard, event) end)

  @spec gate(Figures.t(), Emit.heard()) :: :ok
  def gate(%{kind: kind, name: name, usage: usage}, heard) do
    event = @gates[kind]
    if heard[event], do: Emit.event(event, usage, %{gate: name, kind: kind}), else: :ok
  end

  @spec vm(Emit.heard()) :: :ok
  def vm(heard) when is_map_key(heard, @vm) or is_map_key(heard, @status) do
    status = VM.status()

    for resource <- Levels.resources(), figures = status[resource], heard[@vm] do
      Emit.event(@vm, Map.take(figures, [:count, :limit, :used]), %{resource: resource})
    end

    if heard[@status] do
      Emit.event(@status, %{pressure: Levels.number(status.pressure)}, Map.take(status, [:pressure, :because]))
    end

    :ok
  end

  def vm(_heard), do: :ok
end
