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

      assert attack.look_at() =~
               Map.fetch!(%{memory: "memory", ping: "pings", answers: "answers", queue: "queue"}, attack.harm())
    end
  end

  test "an attack runs unguarded first and guarded last, with one pool between where it says so" do
    for attack <- Attack.all() do
      assert [:unguarded | modes] = Attack.modes(attack)
      assert modes in [[:guarded], [:one_pool, :guarded]]
    end

    assert Attack.modes(Attack.SpawnBomb) == [:unguarded, :guarded]
    assert Attack.modes(Attack.SlowClients) == [:unguarded, :one_pool, :guarded]
  end

  test "an attack without an overdraft, limits of memory, unasked processes, senders or schedulers has the defaults" do
    assert Attack.unasked(Attack.SpawnBomb, :guarded) == 0
    assert Attack.unasked(Attack.ForeignProcesses, :guarded) == 20_000
    assert Attack.unasked(Attack.ClientsOfAWebServer, :guarded) < Attack.unasked(Attack.ClientsOfAWebServer, :one_pool)
    assert Attack.schedulers(Attack.SpawnBomb) == :default
    assert Attack.schedulers(Attack.ClientsOfAWebServer) == 2
    assert Attack.overdraft(Attack.SpawnBomb) == 0
    assert Attack.overdraft(Attack.ChildrenOfManyCallers) == 100
    assert Attack.memory_limit_mb(Attack.SpawnBomb) == :infinity
    assert Attack.memory_limit_mb(Attack.SessionsWithState) == 256
    assert Attack.senders(Attack.SpawnBomb) == 0
    assert Attack.senders(Attack.CastsToASlowServer) == 8
    assert Attack.added_memory_mb(Attack.SpawnBomb) == :infinity
    assert Attack.added_memory_mb(Attack.CastsToASlowServer) < 100
  end

  test "only the attack on Cowboy can lack something" do
    for attack <- Attack.all(), attack != Attack.ClientsOfAWebServer, do: assert(Attack.missing(attack) == nil)
    unless Code.ensure_loaded?(:cowboy), do: assert(Attack.missing(Attack.ClientsOfAWebServer) =~ "cowboy")
  end
end
