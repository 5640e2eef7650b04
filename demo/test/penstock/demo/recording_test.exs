defmodule Penstock.Demo.RecordingTest do
  use ExUnit.Case, async: true

  alias Penstock.Demo.{Attack.CastsToASlowServer, Attack.SlowClients, Attack.SpawnBomb, Recording, Run}

  @tally %{offered: 10, done: 7, refused: 3, system_limit: 0, peak_processes: 1_040}
         |> Map.merge(%{asked: 5, answered: 4, slowest_us: 9_000, queue: 600, peak_queue: 1_003, idle_after_us: 5_300})

  # The reports of a child whose attack lasts one second, from 1,000,000 µs on the child's clock.
  @messages [
    {:pings, 900_000, [899_000], [5]},
    {:processes, 990_000, 2_000, %{@tally | offered: 0, done: 0, refused: 0, peak_processes: 0, answered: 0, queue: 0}},
    {:attacked, 1_000_000, %{baseline: 50, process_limit: 32_768}},
    {:memory, 1_000_500, 3 * 1_048_576},
    {:memory, 1_000_900, 2 * 1_048_576},
    {:processes, 1_500_000, 1_030, @tally},
    {:pings, 1_600_000, [1_100_000, 1_200_000], [20]},
    {:pings, 1_900_000, [1_800_000], [40, 30]},
    {:answer_times, 1_990_000, [9_000, 3_000, 2_000, 1_000]},
    {:rested, 2_000_000, :ok, @tally},
    {:ended, 2_200_000}
  ]

  defp record(messages, mode \\ :guarded, attack \\ SpawnBomb),
    do: Enum.reduce(messages, Recording.new(attack, mode), &Recording.add(&2, &1))

  test "a VM that runs to its end gives every figure" do
    run = @messages |> record() |> Recording.exited(0) |> Run.new()

    assert %Run{
             attack: "a",
             mode: :guarded,
             limit: 1_000,
             process_limit: 32_768,
             baseline: 50,
             offered: 10,
             done: 7,
             refused: 3,
             system_limit: 0,
             peak_memory_mb: 3.0,
             survived: true,
             failure: nil,
             rest: :ok,
             seconds: 1.0
           } = run

    # The tally has a peak of 1,040 between two samples. The sample of 2,000 processes was before
    # the attack, and does not count.
    assert run.peak_processes == 1_040
    assert run.curve == [{-0.01, 2_000}, {0.5, 1_030}]
    assert run.memory_curve == [{0.0005, 3.0}, {0.0009, 2.0}]
    assert run.ping_curve == [{-0.1, 0.005}, {0.2, 0.02}, {0.3, 0.04}, {0.9, 0.03}]
    assert Run.fate(run) == "alive"
    assert {run.ping_p50_us, run.ping_p99_us, run.ping_max_us} == {30, 40, 40}
    assert Run.broken_promises(run) == []
  end

  test "answers to innocent clients are figures of the attacks that count them" do
    run = @messages |> record(:guarded, SlowClients) |> Recording.exited(0) |> Run.new()
    assert {run.asked, run.answered, run.slowest_us, run.answer_p99_us} == {5, 4, 9_000, 9_000}
    assert run.answer_curve == [{-0.01, 0}, {0.5, 4}]

    none = @messages |> record() |> Recording.exited(0) |> Run.new()
    assert {none.asked, none.answered, none.slowest_us} == {nil, nil, nil}
  end

  test "the queue is a figure of the attacks on a server's queue" do
    run = @messages |> record(:guarded, CastsToASlowServer) |> Recording.exited(0) |> Run.new()
    assert {run.limit, run.senders, run.peak_queue, run.idle_after_us} == {1_000, 8, 1_003, 5_300}
    assert {run.asked, run.answered, run.slowest_us} == {5, 4, 9_000}
    assert run.queue_curve == [{-0.01, 0}, {0.5, 600}]

    none = @messages |> record() |> Recording.exited(0) |> Run.new()
    assert {none.peak_queue, none.idle_after_us} == {nil, nil}

    {before, [rested, ended]} = Enum.split(@messages, -2)
    never_idle = put_elem(rested, 3, %{@tally | idle_after_us: 0})
    run = (before ++ [never_idle, ended]) |> record(:guarded, CastsToASlowServer) |> Recording.exited(0) |> Run.new()
    assert run.idle_after_us == nil
  end

  test "the added memory is that above the last sample before the attack" do
    idle = [{:memory, 900_000, 9 * 1_048_576}, {:memory, 980_000, 1_048_576}]
    run = (idle ++ @messages) |> record() |> Recording.exited(0) |> Run.new()
    assert {run.added_memory_mb, run.memory_bound_mb} == {2.0, nil}
    run = @messages |> record() |> Recording.exited(0) |> Run.new()
    assert run.added_memory_mb == 0.0
  end

  test "a run with one pool has its limit, and keeps the promises of a pool only" do
    run = @messages |> record(:one_pool, SlowClients) |> Recording.exited(0) |> Run.new()
    assert {run.limit, run.guard} == {100, nil}
    assert ["1040 processes at its peak" <> _] = Run.broken_promises(run)
  end

  test "an unguarded run has no limit and breaks no promise" do
    run = @messages |> record(:unguarded) |> Recording.exited(137) |> Run.new()
    assert run.limit == nil
    assert Run.broken_promises(run) == []
  end

  test "the reports of a dead VM remain, and an unanswered ping counts until the last report" do
    run =
      @messages
      |> Enum.take(7)
      |> record()
      |> Recording.exited(137)
      |> Recording.note("bang")
      |> Run.new()

    refute run.survived
    assert run.failure == "it ended with status 137; it last printed:\nbang"
    assert run.offered == 10
    assert Run.fate(run) == "dead"
    assert run.ping_max_us == 400_000
    assert run.seconds == 0.6
    assert Run.broken_promises(run) == ["the VM did not survive: #{run.failure}"]
  end

  test "work that is neither done, refused nor failed counts as unfinished" do
    tally = %{@tally | offered: 20, system_limit: 4}
    run = [{:processes, 1_500_000, 99, tally}] |> record() |> Recording.exited(137) |> Run.new()
    assert run.unfinished == 6
  end

  test "a VM that dies before the attack has no figures" do
    run = [] |> record() |> Recording.exited(1) |> Run.new()
    assert %Run{survived: false, ping_p50_us: nil, process_limit: nil, curve: []} = run
    assert run.seconds == 0
  end

  test "the fate of a VM that hangs is hung, and its failure has the time until its kill" do
    run = @messages |> Enum.take(6) |> record() |> Recording.hung(20_000) |> Run.new()
    assert run.failure == "it had not ended after 20 s and was killed"
    assert Run.fate(run) == "hung"
  end

  test "a VM that ends with an unanswered ping did not survive" do
    run = (@messages ++ [{:pings, 2_100_000, [2_050_000], []}]) |> record() |> Recording.exited(0)
    assert Run.new(run).failure == "it left pings unanswered"
  end

  describe "broken_promises/1 of a guarded run" do
    defp broken(change) do
      run = @messages |> record() |> Recording.exited(0) |> Run.new()
      run |> struct!(change) |> Run.broken_promises()
    end

    defp broken_by_casts(change) do
      run = @messages |> record(:guarded, CastsToASlowServer) |> Recording.exited(0) |> Run.new()
      run |> struct!([answered: 5] ++ change) |> Run.broken_promises()
    end

    test "more messages than the limit and the senders" do
      assert broken_by_casts(peak_queue: 1_008) == []
      # The limit of a mailbox does not bound processes.
      assert broken_by_casts(peak_processes: 5_000) == []

      assert broken_by_casts(peak_queue: 1_009) ==
               [
                 "1009 messages waited at its peak, over 1008: the mailbox's 1000, and a message of each of 8 senders"
               ]
    end

    test "a mailbox that has its room late, or not at all" do
      assert broken_by_casts(idle_after_us: 100_000) == []
      said = "the mailbox did not have all its room 100 ms after the load ended, but after "
      assert broken_by_casts(idle_after_us: 100_001) == [said <> "100001 µs"]
      assert broken_by_casts(idle_after_us: nil) == [said <> "nil µs"]
    end

    test "memory that grows" do
      assert broken_by_casts(added_memory_mb: 16.0) == []
      assert broken_by_casts(added_memory_mb: 16.1) == ["the attack added 16.1 MB of memory, over 16 MB"]
      assert broken(added_memory_mb: 1.0e9) == []
    end

    test "messages that are lost, or counted twice" do
      assert ["6 done and 3 refused are 9" <> _] = broken_by_casts(done: 6)
      assert ["8 done and 3 refused are 11" <> _] = broken_by_casts(done: 8)
    end

    test "more processes than the limit and the VM's own" do
      assert broken(peak_processes: 1_050) == []
      assert broken(peak_processes: 1_052, unasked: 2) == []

      assert broken(peak_processes: 1_051) ==
               [
                 "1051 processes at its peak, over 1050: the pool's 1000, an overdraft of 0, 0 that no gate is asked for, " <>
                   "and the VM's own 50"
               ]
    end

    test "spawns that the VM refused" do
      assert ["the VM refused 2 spawns" <> _] = broken(system_limit: 2)
    end

    test "work that is not accounted for" do
      assert broken(offered: 11) == ["7 done and 3 refused are 10, but 11 were offered"]
    end

    test "innocent clients without an answer" do
      assert broken(asked: 5, answered: 5) == []
      assert broken(asked: 5, answered: 4) == ["innocent clients got 4 answers to 5 requests"]
    end

    test "permits that are held at the end" do
      assert broken(rest: {:error, %{permits_held: 1}}) ==
               ["it never came to rest: {:error, %{permits_held: 1}}"]
    end
  end
end
