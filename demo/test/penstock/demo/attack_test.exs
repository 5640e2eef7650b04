defmodule Penstock.Demo.AttackTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Attack

  test "every attack has its own id, and is found by it" do
    ids = Attack.ids()
    assert ids == Enum.uniq(ids)
    for attack <- Attack.all(), do: assert(Attack.fetch(attack.id()) == {:ok, attack})
    assert Attack.fetch("none") == :error
  end

  test "every attack can be told apart and read about" do
    for attack <- Attack.all() do
      assert attack.title() != ""
      assert attack.story() =~ attack.guard()
      assert attack.limit() > 0
      assert attack.look_at() =~ if(attack.hurts() == :memory, do: "memory", else: "pings")
    end
  end

  test "only some attacks have an overdraft or a limit of the memory" do
    assert Attack.overdraft(Attack.SpawnBomb) == 0
    assert Attack.overdraft(Attack.ChildrenOfManyCallers) == 100
    assert Attack.memory_limit_mb(Attack.SpawnBomb) == :infinity
    assert Attack.memory_limit_mb(Attack.SessionsWithState) == 256
  end
end
