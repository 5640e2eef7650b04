defmodule Penstock.Test.StormTest do
  # Tests kill_storm/2: that it kills, what it finds, and what it leaves.
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO
  import Penstock.Test
  alias MyApp.PlantedBugs
  alias Penstock.Pool

  # Runs a storm without its output. Returns the result, or the message of its failure.
  defp storm(fun, opts) do
    test = self()

    capture_io(fn -> send(test, {:storm, result(fun, opts)}) end)

    assert_received {:storm, result}
    result
  end

  defp result(fun, opts) do
    kill_storm(fun, opts)
  rescue
    error in ExUnit.AssertionError -> error.message
  end

  test "prints the seed, and takes that of ExUnit" do
    output = capture_io(fn -> assert kill_storm(fn -> :ok end, rounds: 1).seed == ExUnit.configuration()[:seed] end)
    assert output == "kill_storm: seed: #{ExUnit.configuration()[:seed]}\n"
    assert %{seed: 7, rounds: 2} = storm(fn -> :ok end, rounds: 2, seed: 7)
  end

  test "runs the function as often as asked, and kills it and its processes" do
    test = self()

    fun = fn ->
      send(test, {:run, Process.get(:"$callers")})
      Task.await(Task.async(fn -> PlantedBugs.work(:done, 20) end))
    end

    assert %{kills: kills} = storm(fun, rounds: 20)
    assert kills > 0
    assert_received {:run, [^test | _]}
  end

  test "a gate that recovers" do
    pool = start_gate!(:pool, limit: 4)
    guarded = fn -> Penstock.run(pool, fn -> PlantedBugs.work(:done, 5) end) end

    spawned = fn ->
      for _ <- 1..3, do: Penstock.spawn(pool, &PlantedBugs.work/0)
      PlantedBugs.work()
    end

    for fun <- [guarded, spawned], do: assert(%{kills: _} = storm(fun, gates: [pool]))
    assert %{kills: _} = storm(guarded, rounds: 5)
  end

  test "an orphan is found among all gates, and killed" do
    pool = start_gate!(:pool, limit: 3)
    test = self()

    orphan = fn ->
      pid = spawn(fn -> Pool.acquire(pool) && PlantedBugs.block() end)
      send(test, {:orphan, pid})
      PlantedBugs.work()
    end

    message = storm(orphan, rounds: 200, within: 50, seed: 3)
    assert message =~ "#{inspect(pool)} has "
    assert message =~ "permits in use (0 before)"
    assert message =~ ~r/created by anonymous fn.\d in Penstock.Test.StormTest/
    assert_received {:orphan, pid}
    refute Process.alive?(pid)
  end

  test "gates that are named must be exactly as before" do
    pool = start_gate!(:pool, limit: 3)
    other = spawn(&PlantedBugs.block/0)
    :ok = Pool.acquire(pool)
    # A process of another test takes the permit.
    message = storm(fn -> :ok end, rounds: 1, within: 50, gates: [give_away(pool, other)])
    assert %{kills: _} = message
    message = storm(fn -> send(other, :stop) end, rounds: 1, within: 50, gates: [pool])
    assert message =~ "#{inspect(pool)} has 0 permits in use (1 before)"
  end

  test "a gate of several limits stands for its pools" do
    pool = start_gate!(:pool, limit: 3)
    gate = start_gate!(:gate, limits: [start_gate!(:rate_limiter, limit: 1_000, per: 1), pool])
    orphan = fn -> spawn(fn -> Pool.acquire(pool) && PlantedBugs.block() end) && PlantedBugs.work() end
    assert storm(orphan, rounds: 200, within: 50, seed: 3, gates: [gate]) =~ "#{inspect(pool)} has "
  end

  defp give_away(pool, pid) do
    :ok = Pool.transfer(pool, pid)
    pool
  end

  test "a function that raises without a kill" do
    assert_raise RuntimeError, "burst", fn ->
      capture_io(fn -> kill_storm(fn -> raise "burst" end, interval: 1_000) end)
    end
  end

  test "a function that a linked process ends without a kill" do
    linked = fn -> spawn_link(fn -> exit(:burst) end) && PlantedBugs.block() end
    capture_io(fn -> assert catch_exit(kill_storm(linked, interval: 1_000, rounds: 20)) == :burst end)
  end

  test "bad arguments" do
    ok = fn -> :ok end

    for {args, message} <- [
          {[1], "expected fun to be a function of arity 0, got: 1"},
          {[ok, [rounds: 0]], "expected :rounds to be an integer between 1 and 2147483647, got: 0"},
          {[ok, [seed: :random]], "expected :seed to be an integer between 0 and 2147483647, got: :random"},
          {[ok, [gates: [NoGate.Here]]], ~r/no gate named NoGate.Here is running/},
          {[ok, [gates: 5]], "expected :gates to be a list of names of gates, got: 5"},
          {[ok, [kills: 5]], ~r/unknown option :kills/}
        ] do
      assert_raise ArgumentError, message, fn -> apply(Penstock.Test, :kill_storm, args) end
    end
  end
end
