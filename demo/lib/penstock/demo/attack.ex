defmodule Penstock.Demo.Attack do
  @moduledoc false

  # The callbacks of an attack. An attack runs in a fresh VM for each mode. The fresh VM calls
  # `setup/2` and `run/1`. The VM of the demo calls the other callbacks. Both call `id/0`.
  #
  # The mode `:one_pool` guards the attacked code by a single pool, where `:guarded` needs a gate of
  # several limits.

  alias Penstock.Demo.Tally

  @type mode :: :unguarded | :one_pool | :guarded
  @type state :: term()

  @doc "Returns the short name, which `--only` takes and the CSV shows."
  @callback id() :: String.t()

  @callback title() :: String.t()

  @doc "Returns the text for the report: the attack, and the call that starts work in each mode."
  @callback story() :: String.t()

  @doc "Returns the text for the report that names the figures and curves which show the harm."
  @callback look_at() :: String.t()

  @doc """
  Returns the measure that shows the harm. The page plots it next to the processes.

  `:answers` stands for the answers to the innocent clients, which the attack counts in its tally.
  `:queue` stands for the messages that wait at the attacked server, next to the memory.
  """
  @callback harm() :: :ping | :memory | :answers | :queue

  @doc "Returns the modes, in the order in which they run. Default: `:unguarded`, `:guarded`."
  @callback modes() :: [mode(), ...]

  @doc "Returns the text of the call that guards the attacked code, for the report."
  @callback guard() :: String.t()

  @doc "Returns the limit of the pool, or of the mailbox, that guards the attacked code."
  @callback limit() :: pos_integer()

  @doc "Returns how many permits restarts can take above that limit. Default: 0."
  @callback overdraft() :: non_neg_integer()

  @doc "Returns how many senders can have a message on its way to a mailbox. Default: 0."
  @callback senders() :: non_neg_integer()

  @doc "Returns how much memory a guarded attack may add to that of the idle VM, in MB. Default: `:infinity`."
  @callback added_memory_mb() :: pos_integer()

  @doc "Returns the memory that the attacked VM can use, in MB. Default: `:infinity`."
  @callback memory_limit_mb() :: pos_integer()

  @doc "Returns how many processes the attack creates in `mode` that no pool is asked for. Default: 0."
  @callback unasked(mode()) :: non_neg_integer()

  @doc "Returns the number of schedulers of the attacked VM. Default: that of a VM on this machine."
  @callback schedulers() :: pos_integer()

  @doc "Returns what this machine lacks to run the attack, for the report; nil if it lacks nothing. Default: nil."
  @callback missing() :: String.t() | nil

  @optional_callbacks modes: 0, overdraft: 0, memory_limit_mb: 0, unasked: 1, schedulers: 0, missing: 0
  @optional_callbacks senders: 0, added_memory_mb: 0

  @doc """
  Starts the processes that live as long as the attack: the pool, the attacked process.

  These processes count as the VM's own, so they must not yet do any work of the attack.
  """
  @callback setup(mode(), Tally.t()) :: state()

  @doc "Attacks. Returns once no more work is offered from outside. Offered work may still run."
  @callback run(state()) :: :ok

  # In the order in which they run.
  @attacks [
    Penstock.Demo.Attack.SpawnBomb,
    Penstock.Demo.Attack.SpawnPerMessage,
    Penstock.Demo.Attack.TaskPerItem,
    Penstock.Demo.Attack.TasksOfManyCallers,
    Penstock.Demo.Attack.EndlessWorkers,
    Penstock.Demo.Attack.ChildrenOfManyCallers,
    Penstock.Demo.Attack.RequestsOfOneAddress,
    Penstock.Demo.Attack.ForeignProcesses,
    Penstock.Demo.Attack.SlowClients,
    Penstock.Demo.Attack.SessionsWithState,
    Penstock.Demo.Attack.ClientsOfAWebServer,
    Penstock.Demo.Attack.CastsToASlowServer
  ]

  @spec all() :: [module()]
  def all, do: @attacks

  @spec ids() :: [String.t()]
  def ids, do: Enum.map(@attacks, & &1.id())

  @spec modes(module()) :: [mode(), ...]
  def modes(attack), do: optional(attack, :modes, [:unguarded, :guarded])

  @doc "Returns the name of a mode, for people."
  @spec mode_name(mode()) :: String.t()
  def mode_name(:one_pool), do: "one pool"
  def mode_name(mode), do: Atom.to_string(mode)

  @spec overdraft(module()) :: non_neg_integer()
  def overdraft(attack), do: optional(attack, :overdraft, 0)

  @spec memory_limit_mb(module()) :: pos_integer() | :infinity
  def memory_limit_mb(attack), do: optional(attack, :memory_limit_mb, :infinity)

  @spec senders(module()) :: non_neg_integer()
  def senders(attack), do: optional(attack, :senders, 0)

  @spec added_memory_mb(module()) :: pos_integer() | :infinity
  def added_memory_mb(attack), do: optional(attack, :added_memory_mb, :infinity)

  @spec unasked(module(), mode()) :: non_neg_integer()
  def unasked(attack, mode), do: optional(attack, :unasked, [mode], 0)

  @spec schedulers(module()) :: pos_integer() | :default
  def schedulers(attack), do: optional(attack, :schedulers, :default)

  @spec missing(module()) :: String.t() | nil
  def missing(attack), do: optional(attack, :missing, nil)

  defp optional(attack, callback, args \\ [], default) do
    Code.ensure_loaded!(attack)
    if function_exported?(attack, callback, length(args)), do: apply(attack, callback, args), else: default
  end

  @spec fetch(String.t()) :: {:ok, module()} | :error
  def fetch(id) do
    case Enum.find(@attacks, &(&1.id() == id)) do
      nil -> :error
      attack -> {:ok, attack}
    end
  end
end
