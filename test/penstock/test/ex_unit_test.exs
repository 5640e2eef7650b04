defmodule Penstock.Test.ExUnitTest do
  # Tests Penstock.Test on a node where ExUnit does not run.
  use ExUnit.Case, async: true

  alias Penstock.{ChildJobs, ChildVM}

  test "each function says that it needs ExUnit" do
    calls = ChildVM.run(ChildJobs.TestKit, :calls, [])
    assert Keyword.keys(calls) == [:assert_bounded, :refute_leak, :flood, :kill_storm, :fill, :start_gate!]

    for {function, message} <- calls do
      assert message ==
               "Penstock.Test.#{function} needs ExUnit, which does not run on this node. Call it in a test, or call ExUnit.start() first"
    end
  end
end
