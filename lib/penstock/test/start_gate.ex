defmodule Penstock.Test.StartGate do
  # Starts a gate of one test: `Penstock.Test.start_gate!/2`.
  @moduledoc false

  alias Penstock.{Ban, DynamicSupervisor, Gate, KeyedPool, Options, Pool, RateLimiter, Task}
  alias Penstock.Test.ExUnit

  @modules %{
    pool: Pool,
    keyed_pool: KeyedPool,
    rate_limiter: RateLimiter,
    ban: Ban,
    gate: Gate,
    dynamic_supervisor: DynamicSupervisor,
    task_supervisor: Task.Supervisor
  }
  @kinds [:pool, :keyed_pool, :rate_limiter, :ban, :gate, :dynamic_supervisor, :task_supervisor]

  @spec run(Penstock.Test.gate_kind(), keyword) :: atom
  def run(kind, opts) do
    ExUnit.ensure!("start_gate!")
    module = Map.fetch!(@modules, Options.one_of!(kind, "kind", @kinds))
    unless Keyword.keyword?(opts), do: Options.expected!("options", "a keyword list", opts)
    opts = Keyword.put_new_lazy(opts, :name, fn -> unique_name(kind) end)
    _pid = ExUnit.start_supervised!(module.child_spec(opts))
    opts[:name]
  end

  # A name that no other test has.
  defp unique_name(kind) do
    number = System.unique_integer([:positive])
    Module.concat([Penstock.Test.Gates, "#{Macro.camelize(Atom.to_string(kind))}#{number}"])
  end
end
