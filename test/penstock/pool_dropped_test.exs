defmodule Penstock.PoolDroppedTest do
  # Unnamed pools that no process refers to any more. Each test runs in a VM of its own, in which
  # it can count all pools that exist.
  use ExUnit.Case, async: false

  alias Penstock.{ChildVM, Monitored}
  alias Penstock.ChildJobs.Memory

  test "asking what monitors a holder, while its pools are dropped, does not kill the VM" do
    assert {asked, dropped} = ChildVM.run(Monitored, :hammer, [5_000])
    assert asked > 0 and dropped > 0
  end

  test "a million pools, one after the other, in which one process acquires, need the memory of a few" do
    assert {made, monitors} = ChildVM.run(Memory, :many_pools, [1_000_000])
    # A pool lives until the process collects the garbage that its handle is in. So some hundreds
    # of pools exist at once, and later ones take over their memory.
    assert made < 2_000
    assert monitors <= made
  end

  test "a pool of 100,000 holders is dropped without a stall, and the next pool takes it over" do
    %{stalls: stalls, of_machine: of_machine, made: made} = ChildVM.run(Memory, :large_pool, [100_000, 7])
    # `stalls` are the longest stalls in ms, one for each drop; `of_machine` are those of rounds
    # without a drop. The machine does not stall in each round, so the shortest ones are compared.
    assert {stalls, of_machine, Enum.min(stalls) < Enum.min(of_machine) + 5} == {stalls, of_machine, true}
    assert made == 1
  end

  test "without a janitor, the callers of Pool.new/1 clear dropped pools" do
    assert {1, answers} = ChildVM.run(Memory, :large_pool_without_janitor, [2_000])
    assert Enum.uniq(answers) == [:ok]
  end
end
