defmodule Penstock.Admission.NamesTest do
  # Names of gates: open ones, closed ones, and forgotten ones. The registry forgets a closed name
  # when it reuses the memory of that name for another one. Each test has a VM of its own, without
  # other names.
  use ExUnit.Case, async: false

  alias Penstock.ChildJobs.Names
  alias Penstock.ChildVM

  test "50,000 open names are listed in pieces, each name once" do
    assert %{listed: 50_000, uniq: 50_000, most: most} = ChildVM.run(Names, :many_names, [50_000])
    # One native call looks at 256 names, and at the rest of the last bucket of the registry that
    # it visits. A bucket has some 12 of the 50,000 names, so 64 are enough for that rest.
    assert most <= 256 + 64
  end

  @tag skip: not File.exists?("/proc/self/status") && "needs /proc"
  test "50,000 names that were started and closed need the memory of 4,096" do
    grown = ChildVM.run(Names, :closed_names, [10_000, 40_000])
    # The registry has 4,096 buckets. A bucket keeps the memory of one closed name, for the next
    # name. Of each other closed name, only a word and the atom remain. `grown` is in KiB. Without
    # reuse, the last 40,000 pools would take some 200,000 KiB.
    assert is_integer(grown)
    assert grown < 40_000
  end

  test "a call about a pool with a forgotten name gets the answer that a closed pool would give" do
    assert ChildVM.run(Names, :forgotten_name, []) == %{
             forgotten: true,
             cancel: :too_late,
             hand_over: :ok,
             adopt: :revoked,
             retract: :ok,
             spawn_end: :not_held,
             claim: :revoked,
             run_end: :not_held,
             held: 0,
             work: :not_held,
             again: :ok
           }
  end
end
