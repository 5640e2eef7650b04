defmodule Penstock.Demo.Attack do
  @moduledoc false

  # The callbacks of an attack. An attack runs in a fresh VM for each mode. That VM calls
  # `setup/2` and `run/1`; both it and its parent call the other callbacks.

  alias Penstock.Demo.Tally

  @type mode :: :unguarded | :guarded
  @type state :: term()

  @doc "The short name: `--only` takes it and the CSV shows it."
  @callback id() :: String.t()

  @callback title() :: String.t()

  @doc "The attack, and how the attacked code starts work in each mode, as the report shows it."
  @callback story() :: String.t()

  @doc "The figures and curves that show the harm, for a reader of the report."
  @callback look_at() :: String.t()

  @doc "The measure that shows the harm: the page plots it next to the processes."
  @callback harm() :: :ping | :memory

  @doc "The call that guards the attacked code, as the report shows it."
  @callback guard() :: String.t()

  @doc "The limit of the pool that guards the attacked code."
  @callback limit() :: pos_integer()

  @doc "Permits that restarts may take above that limit. Default: 0."
  @callback overdraft() :: non_neg_integer()

  @doc "Memory of the attacked VM in MB. Default: `:infinity`."
  @callback memory_limit_mb() :: pos_integer()
  @optional_callbacks overdraft: 0, memory_limit_mb: 0

  @doc """
  Starts the processes that live as long as the attack: the pool, the attacked process.

  These processes count as the VM's own, so they must not do any work of the attack yet.
  """
  @callback setup(mode(), Tally.t()) :: state()

  @doc "Attacks. Returns once no more work is offered from outside; offered work may still run."
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
