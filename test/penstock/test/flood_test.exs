defmodule Penstock.Test.FloodTest do
  # Tests the figures of flood/3.
  use ExUnit.Case, async: true

  import Penstock.Test
  alias MyApp.PlantedBugs
  alias Penstock.Pool
  alias Penstock.Test.FloodFigures

  test "calls as often as asked, with the numbers from 0 on" do
    test = self()
    figures = flood(100, fn number -> send(test, {:called, number}) end, concurrency: 7)
    for number <- 0..99, do: assert_received({:called, ^number})
    refute_received {:called, _number}
    assert %{ok: 100, refused: 0, raised: 0, reasons: reasons} = figures
    assert reasons == %{}
    assert figures.peak in 1..7
  end

  test "all calls begin together" do
    gathering = :counters.new(1, [])

    meet = fn ->
      :counters.add(gathering, 1, 1)
      await(gathering, 20)
    end

    assert %{ok: 20, peak: 20} = flood(20, meet)
  end

  defp await(counter, n) do
    if :counters.get(counter, 1) < n do
      receive after: (1 -> await(counter, n))
    end
  end

  test "behind a gate, the peak is that of the gate" do
    pool = start_gate!(:pool, limit: 3)
    figures = flood(30, fn -> PlantedBugs.work(:done, 5) end, gate: pool, timeout: :infinity)
    assert %{ok: 30, peak: 3} = figures
    # Ten calls one after another took 5 ms each.
    assert figures.max_us >= 45_000
    assert figures.min_us >= 5_000

    figures = flood(30, fn -> PlantedBugs.work(:done, 200) end, gate: pool, timeout: 0)
    assert %{ok: 3, refused: 27, peak: 3, reasons: %{full: 27}} = figures
    assert figures.refused_us.max < figures.min_us
    assert Pool.info(pool).in_use == 0
  end

  test "refusals by reason, and what was raised" do
    answers = %{
      0 => fn -> {:error, :full} end,
      1 => fn -> {:error, {:rate_limited, 7}} end,
      2 => fn -> {:error, {:banned, :infinity}} end,
      3 => fn -> raise Penstock.RejectedError, gate: :any, reason: :timeout end,
      4 => fn -> {:error, :enoent} end,
      5 => fn -> raise "burst" end,
      6 => fn -> throw(:ball) end,
      7 => fn -> exit(:gone) end,
      8 => fn -> Process.exit(self(), :kill) end
    }

    figures = flood(9, fn number -> answers[number].() end, concurrency: 2)
    assert %{ok: 1, refused: 4, raised: 4} = figures
    assert figures.reasons == %{full: 1, rate_limited: 1, banned: 1, timeout: 1}
    assert figures.raises["** (RuntimeError) burst"] == 1
    assert figures.raises["** (throw) :ball"] == 1
    assert Enum.sum(Map.values(figures.raises)) == 4
  end

  test "each call counts once, also if its caller ends normally in it, or dies after it" do
    quits = fn -> Process.exit(self(), :normal) end
    assert %{ok: 0, refused: 0, raised: 9} = flood(9, quits, concurrency: 2)

    # The caller dies at the beginning of its next call, which does not wait for that.
    late = fn -> spawn_link(fn -> exit(:late) end) && :ok end

    for _ <- 1..50 do
      figures = flood(50, late, concurrency: 4)
      assert figures.ok + figures.raised == 50
    end
  end

  test "percentiles and the histogram are those of the ok calls" do
    native = System.convert_time_unit(1, :microsecond, :native)
    results = for us <- 1..1_000, do: {:ok, 0, 0, us * native}
    figures = FloodFigures.of([{{:refused, :full}, 0, 0, 9_999 * native} | results], 0)

    assert %{min_us: 1, p50_us: 500, p90_us: 900, p99_us: 990, p999_us: 999, max_us: 1_000, peak: 1_000} = figures

    assert figures.histogram == [
             {1, 1},
             {2, 1},
             {4, 2},
             {8, 4},
             {16, 8},
             {32, 16},
             {64, 32},
             {128, 64},
             {256, 128},
             {512, 256},
             {1024, 488}
           ]

    assert %{ok: 0, p50_us: nil, histogram: [], peak: 0} = FloodFigures.of([], 0)
  end

  test "a call that ends when the next begins does not run with it" do
    assert FloodFigures.of([{:ok, 0, 0, 5}, {:ok, 5, 5, 9}], 0).peak == 1
    assert FloodFigures.of([{:ok, 0, 3, 5}, {:ok, 0, 4, 9}], 0).peak == 2
    assert FloodFigures.of([{:ok, 0, 0, 2}, {:ok, 0, 4, 9}], 0).peak == 1
  end

  test "the callers name the test among their callers, and end with it" do
    test = self()
    flood(1, fn -> send(test, {:callers, Process.get(:"$callers")}) end)
    assert_received {:callers, [^test | _]}

    {pid, monitor} = spawn_monitor(fn -> flood(1, fn -> PlantedBugs.tell_and_block(test, {:caller, self()}) end) end)
    assert_receive {:caller, caller}
    watch = Process.monitor(caller)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert_receive {:DOWN, ^watch, :process, ^caller, _reason}
  end

  # Each call raised before, and the flood counted that as its result.
  test "bad options for the gate, before any process starts" do
    pool = start_gate!(:pool, limit: 1)
    keyed = start_gate!(:keyed_pool, limit: 1)
    several = start_gate!(:gate, limits: [pool, keyed])
    ok = fn -> :ok end
    no_key = "expected :key to be a term other than nil (of callers that are not known, say :anonymous), got: nil"

    for {gate, opts, message} <- [
          {pool, [timeout: -1],
           "expected :timeout to be a number of milliseconds between 0 and 2147483647 or :infinity, got: -1"},
          {pool, [permits: 0], "expected :permits to be an integer between 1 and 2147483647, got: 0"},
          {pool, [cost: :all], "expected :cost to be an integer between 1 and 2147483647, got: :all"},
          {pool, [keys: [ann: 1]], "expected :keys to be a map of the names of limits to keys, got: [ann: 1]"},
          {keyed, [key: nil], no_key},
          {keyed, [], "the gate #{inspect(keyed)} is a keyed pool and requires the option :key"},
          {keyed, [key: String.duplicate("a", 2_000)], ~r/expected key to be of at most 1024 bytes/},
          {several, [],
           "the gate #{inspect(several)} requires the option :key: its limit #{inspect(keyed)} is a keyed pool"},
          {several, [keys: %{ann: 1}], ":ann in :keys is no limit of the gate #{inspect(several)}"}
        ] do
      assert_raise ArgumentError, message, fn -> flood(5, ok, [gate: gate] ++ opts) end
    end

    assert %{ok: 2} = flood(2, ok, gate: keyed, key: "ann", timeout: 5_000)
    assert %{ok: 2} = flood(2, ok, gate: several, keys: %{keyed => "ann"}, timeout: 5_000)
  end

  test "bad arguments" do
    ok = fn -> :ok end

    for {args, message} <- [
          {[0, ok], "expected n to be an integer between 1 and 1000000, got: 0"},
          {[1, fn _, _ -> :ok end], ~r/expected fun to be a function of arity 0 or 1, got: #Function/},
          {[1, ok, [concurrency: 0]], "expected :concurrency to be an integer between 1 and 100000, got: 0"},
          {[1, ok, [timeout: 0]], "the option :timeout is for the gate, and the option :gate is missing"},
          {[1, ok, [gate: NoGate.Here]], ~r/no gate named NoGate.Here is running/},
          {[1, ok, [count: 1]], ~r/unknown option :count/}
        ] do
      assert_raise ArgumentError, message, fn -> apply(Penstock.Test, :flood, args) end
    end
  end
end
