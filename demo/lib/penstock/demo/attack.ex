defmodule Penstock.Demo.Attack do
  @moduledoc false

  # What the demo knows of an attack. An attack runs in a VM of its own, once per mode; the callbacks
  # after `limit/0` are called there, the others in the parent as well.

  alias Penstock.Demo.Tally

  @type mode :: :unguarded | :guarded
  @type state :: term()

  @doc "The short name: `--only` takes it and the CSV shows it."
  @callback id() :: String.t()

  @callback title() :: String.t()

  @doc "What is attacked, and what each mode does about it, for a reader of the report."
  @callback story() :: String.t()

  @doc "The call that guards the attacked code, for people."
  @callback guard() :: String.t()

  @doc "The limit of the pool that guards the attacked code."
  @callback limit() :: pos_integer()

  @doc "How far restarts may pass that limit. Default: not at all, for nothing is restarted."
  @callback overdraft() :: non_neg_integer()
  @optional_callbacks overdraft: 0

  @doc """
  Starts whatever lives as long as the attack: the pool, the attacked process.

  What it starts counts as the VM's own, so it must not do any work of the attack yet.
  """
  @callback setup(mode(), Tally.t()) :: state()

  @doc "Attacks, and returns once nothing new is offered from outside; work may still be running."
  @callback run(state()) :: :ok

  # In the order in which they run.
  @attacks [
    Penstock.Demo.Attack.SpawnBomb,
    Penstock.Demo.Attack.SpawnPerMessage,
    Penstock.Demo.Attack.TaskPerItem,
    Penstock.Demo.Attack.TasksOfManyCallers,
    Penstock.Demo.Attack.EndlessWorkers,
    Penstock.Demo.Attack.ChildrenOfManyCallers
  ]

  @spec all() :: [module()]
  def all, do: @attacks

  @spec ids() :: [String.t()]
  def ids, do: Enum.map(@attacks, & &1.id())

  @spec overdraft(module()) :: non_neg_integer()
  def overdraft(attack), do: if(function_exported?(attack, :overdraft, 0), do: attack.overdraft(), else: 0)

  @spec fetch(String.t()) :: {:ok, module()} | :error
  def fetch(id) do
    case Enum.find(@attacks, &(&1.id() == id)) do
      nil -> :error
      attack -> {:ok, attack}
    end
  end
end
