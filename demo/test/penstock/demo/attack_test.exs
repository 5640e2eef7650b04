defmodule Penstock.Demo.AttackTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.Attack

  test "every attack has an id of its own, and is found by that id" do
    ids = Attack.ids()
    assert ids == Enum.uniq(ids)
    for attack <- Attack.all(), do: assert(Attack.fetch(attack.id()) == {:ok, attack})
    assert Attack.fetch("none") == :error
  end

  test "every attack has a title, a story with its guard, a limit, and a line about its harm" do
    for attack <- Attack.all() do
      assert attack.title() != ""
      assert attack.story() =~ attack.guard()
      assert attack.limit() > 0
      assert attack.look_at() =~ if(attack.harm() == :memory, do: "memory", else: "pings")
    end
  end

  test "an attack without an overdraft or a memory limit has the defaults" do
    assert Attack.overdraft(Attack.SpawnBomb) == 0
    assert Attack.overdraft(Attack.ChildrenOfManyCallers) == 100
    assert Attack.memory_limit_mb(Attack.SpawnBomb) == :infinity
    assert Attack.memory_limit_mb(Attack.SessionsWithState) == 256
  end
end
