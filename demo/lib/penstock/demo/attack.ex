defmodule Penstock.Demo.Attack do
  @moduledoc false

  # An attack as the demo knows it. An attack runs in a VM of its own, once per mode. That VM
  # calls the callbacks `c:setup/2` and `c:run/1`; it and its parent call the others.

  alias Penstock.Demo.Tally

  @type mode :: :unguarded | :guarded
  @type state :: term()

  @doc "The short name: `--only` takes it and the CSV shows it."
  @callback id() :: String.t()

  @callback title() :: String.t()

  @doc "The attack, the code that it hits, and the answer of each mode, for a reader of the report."
  @callback story() :: String.t()

  @doc "The figures and curves to compare, for a reader of the report."
  @callback look_at() :: String.t()

  @doc "The measure that shows the harm: the page plots it next to the processes."
  @callback hurts() :: :ping | :memory

  @doc "The call that guards the attacked code, for people."
  @callback guard() :: String.t()

  @doc "The limit of the pool that guards the attacked code."
  @callback limit() :: pos_integer()

  @doc "Permits that restarts may take above that limit. Default: 0, for attacks without restarts."
  @callback overdraft() :: non_neg_integer()

  @doc "Memory of the attacked VM in MB. Default: `:infinity`."
  @callback memory_limit_mb() :: pos_integer()
  @optional_callbacks overdraft: 0, memory_limit_mb: 0

  @doc """
  Starts the processes that live as long as the attack: the pool, the attacked process.

  They count as the VM's own, so they must not do any work of the attack yet.
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
    Penstock.Demo.Attack.ChildrenOfManyCallers,
    Penstock.Demo.Attack.SessionsWithState
  ]

  @spec all() :: [module()]
  def all, do: @attacks

  @spec ids() :: [String.t()]
  def ids, do: Enum.map(@attacks, & &1.id())

  @spec overdraft(module()) :: non_neg_integer()
  def overdraft(attack), do: optional(attack, :overdraft, 0)

  @spec memory_limit_mb(module()) :: pos_integer() | :infinity
  def memory_limit_mb(attack), do: optional(attack, :memory_limit_mb, :infinity)

  defp optional(attack, callback, default) do
    Code.ensure_loaded!(attack)
    if function_exported?(attack, callback, 0), do: apply(attack, callback, []), else: default
  end

  @spec fetch(String.t()) :: {:ok, module()} | :error
  def fetch(id) do
    case Enum.find(@attacks, &(&1.id() == id)) do
      nil -> :error
      attack -> {:ok, attack}
    end
  end
end
