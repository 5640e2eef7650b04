defmodule Penstock.UpgradeTest do
  # A node that changes to another version of Penstock while it runs.
  use ExUnit.Case, async: true

  alias Mix.Tasks.Compile.PenstockAppup
  alias Penstock.{ChildJobs, ChildVM}

  @moduletag :tmp_dir

  test "a version with the same NIF is loaded, and left again, with all permits and waiters", %{tmp_dir: dir} do
    {ours, theirs} = ChildJobs.Upgrade.modules()
    released = [{Application.spec(:penstock, :vsn), "NIF", ours}]
    appup = PenstockAppup.appup(~c"0.2.99", "NIF", theirs, released)
    File.write!(Path.join(dir, "penstock.appup"), :io_lib.format(~c"~tp.~n", [appup]))
    result = ChildVM.run(ChildJobs.Upgrade, :run, [Path.expand(dir), "0.2.99"])
    # The waiter is still in old code, so the VM refuses to forget that.
    assert {{:old_processes, _module}, result} = Map.pop!(result, :refused)
    # The added module, and the dropped one.
    assert {[{false, true}, {true, false}, {false, true}], result} = Map.pop!(result, :loaded)
    assert result == %{up: :ok, answer: :changed, in_use: 1, waited: :ok, down: :ok, same?: true}
  end
end
