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
    # A pool lives until the process collects the garbage that contains the pool's handle. So some
    # hundreds of pools exist at once. Later pools take over the memory of collected ones.
    assert made < 2_000
    assert monitors <= made
  end

  test "a pool of 100,000 holders is dropped without a stall, and the next pool takes it over" do
    %{stalls: stalls, of_machine: of_machine, made: made} = ChildVM.run(Memory, :large_pool, [100_000, 7])
    # `stalls` has the longest stall in ms of each of 7 drops. `of_machine` has the longest stall
    # of each of 7 equal times without a drop. The machine does not stall in all of these, so the
    # test compares the smallest numbers.
    assert {stalls, of_machine, Enum.min(stalls) < Enum.min(of_machine) + 5} == {stalls, of_machine, true}
    assert made == 1
  end

  test "without a janitor, the callers of Pool.new/1 clear dropped pools" do
    assert {1, answers} = ChildVM.run(Memory, :large_pool_without_janitor, [2_000])
    assert Enum.uniq(answers) == [:ok]
  end
end
