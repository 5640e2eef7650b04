defmodule Penstock.VMTest do
  # The times that these tests bound are of a VM that no other test keeps from its schedulers.
  use ExUnit.Case, async: false

  alias Penstock.ChildJobs.VM, as: Jobs
  alias Penstock.ChildVM
  alias Penstock.VM

  doctest VM

  @moduletag timeout: Penstock.PoolCase.patience(120_000)

  @refused {:error, :overloaded}

  describe "status/0" do
    test "shows each resource with its limit and share" do
      status = VM.status()

      for resource <- [:processes, :ports, :atoms, :ets, :run_queue] do
        assert %{count: count, limit: limit, used: used} = status[resource]
        assert count >= 0 and limit > 0 and used >= 0.0 and used <= 1.0
      end

      assert status.processes.limit == :erlang.system_info(:process_limit)
      assert_in_delta status.ports.used, status.ports.count / status.ports.limit, 1.0e-12
      assert is_float(status.run_queue.delay)
    end

    test "shows the memory in bytes, at least the resident set" do
      if File.exists?("/proc/meminfo") do
        [_, kilobytes] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"))
        assert %{count: count, limit: limit, used: used} = VM.status().memory
        assert count > String.to_integer(kilobytes) * 1_024 / 2
        assert_in_delta used, count / limit, 1.0e-12
      end
    end

    test "has an entry for stalls, which is nil where the system has none" do
      for stall <- [:cpu_stall, :memory_stall], figures = VM.status()[stall] do
        assert %{count: percent, limit: 100, used: used} = figures
        assert_in_delta percent / 100, used, 1.0e-12
      end

      assert Map.has_key?(VM.status(), :cpu_stall) and Map.has_key?(VM.status(), :memory_stall)
    end
  end

  describe "shedding" do
    test "begins at most 150 ms after the crossing, and ends at most 1 s after the use has fallen" do
      result = ChildVM.run(Jobs, :crossings, [9], "+P 4096")
      assert %{shed: shed, back: back} = result
      # The median, since another program can hold the processor for longer than that.
      assert Enum.at(Enum.sort(shed), 4) <= 150, inspect(shed)
      assert Enum.at(Enum.sort(back), 4) <= 1_000, inspect(back)
      assert result.statuses == [%{pressure: :high, because: [:processes]}]

      assert [[%{limit: :vm, kind: :vm, answer: @refused}, %{limit: MyApp.Jobs, kind: :pool, answer: :ok}]] =
               result.explained

      assert %{shed_at: :high, rejected: %{overloaded: overloaded}} = result.info
      assert overloaded >= 9
    end

    test "follows the pressure of each gate, and never happens without :shed_at" do
      assert ChildVM.run(Jobs, :levels, [], "+P 8192") == [
               {:normal, [:ok, :ok, :ok, :ok]},
               {:elevated, [@refused, :ok, :ok, :ok]},
               {:high, [@refused, @refused, :ok, :ok]},
               {:critical, [@refused, @refused, @refused, :ok]}
             ]
    end

    test "goes on while the sampler is killed, also between the shares of leaving and reaching a level" do
      assert %{answers: [@refused], used: used} = ChildVM.run(Jobs, :killed_samplers, [50], "+P 4096")
      assert used < 0.75 and used > 0.70
    end

    test "goes on, and the application too, while a killed sampler finds no place in a full table" do
      assert ChildVM.run(Jobs, :full_table, [], "+P 2048") == %{answers: [@refused], same_supervisor: true}
    end

    test "begins in time while no file can be read, since the dirty schedulers are busy" do
      # As long as the other crossings take, and far shorter than the schedulers are busy.
      assert ChildVM.run(Jobs, :busy_dirty_schedulers, [], "+P 4096") < 1_000
    end

    test "keeps places free for what no gate admits, and answers calls from other nodes" do
      result = ChildVM.run(Jobs, :flood, [], "-name penstock_flood_#{System.pid()}@127.0.0.1")
      assert %{phases: 5, other: 0, fewest_free: free, slowest: slowest} = result
      assert result.admitted > 0 and result.overloaded > 0
      assert free >= 0.1, inspect(result)
      assert slowest < 5_000, inspect(result)
    end

    test "for busy schedulers happens only if the run queue is named" do
      assert %{pressures: [0], longest: longest} = ChildVM.run(Jobs, :busy, [[], 8, 2_000])
      assert longest > 4
      assert %{pressures: pressures} = ChildVM.run(Jobs, :busy, [[resources: [:run_queue]], 10_000, 4_000])
      assert List.last(pressures) == 3
    end

    test "for bursts of 8 processes for each scheduler does not happen, even if the run queue is named" do
      assert %{pressures: [0]} = ChildVM.run(Jobs, :busy, [[resources: [:run_queue]], 8, 2_000])
    end
  end

  describe "alarms" do
    test "are set, changed and cleared, and each is there once" do
      result = ChildVM.run(Jobs, :alarms, [], "+P 4096")
      id = {VM, :processes}

      assert [
               {:set_alarm, {^id, %{pressure: :high, limit: 4096, count: count, used: used}}},
               {:clear_alarm, ^id},
               {:set_alarm, {^id, %{pressure: :critical}}},
               {:clear_alarm, ^id},
               {:clear_alarm, ^id}
             ] = result.events

      assert count > 3072 and used > 0.75
      assert [{^id, %{pressure: :critical}}] = result.once
      assert [{^id, %{pressure: :critical}}] = result.restored
      assert result.normal == [] and result.left == []
      assert result.mailbox == []
      assert result.pressure == :normal
    end

    test "of atoms are set, but atoms shed only if they are named" do
      assert ChildVM.run(Jobs, :atoms, [[]], "+t 40000") ==
               %{id: {VM, :atoms}, run: {:ok, :ran}, status: %{pressure: :normal, because: []}}

      assert ChildVM.run(Jobs, :atoms, [[resources: [:atoms]]], "+t 40000") ==
               %{id: {VM, :atoms}, run: @refused, status: %{pressure: :high, because: [:atoms]}}
    end
  end

  describe "the warning about the default limit of processes" do
    test "comes once, when the limits of pools exceed half of it" do
      assert %{before: {0, 0}, warning: warning, advice: :done, more: []} = ChildVM.run(Jobs, :warnings, [])
      assert warning =~ ~r/^\+P \d+$/m
      assert warning =~ "rel/vm.args.eex"
    end

    test "does not come if the node has a limit of its own" do
      assert ChildVM.run(Penstock.VM.Advice, :new, [], "+P 4096") == :done
    end
  end

  describe "recommend/0" do
    test "fits the limits of all pools, and keeps a limit that is enough" do
      text = ChildVM.run(Jobs, :recommended, [[1_000, 3_000]], "+P 4096 +Q 65536 +t 1048576")
      assert [_, processes] = Regex.run(~r/^\+P (\d+)$/m, text)
      # Two processes for each of 4,000 permits, and as many free places: 16,000.
      assert processes == "16384"
      assert text =~ ~r/^\+Q 65536$/m
      assert text =~ ~r/^\+t 1048576$/m
      assert text =~ "4000"
      for line <- String.split(text, "\n", trim: true), do: assert(line =~ ~r/^(## |\+[PQt] \d+$)/)
    end
  end

  describe "a wrong configuration" do
    test "keeps the application from starting, and says why" do
      assert {:error, {reason, _start}} = ChildVM.run(Jobs, :start, [[high: 2]])
      assert inspect(reason) =~ "expected :high to be a number above 0.05 and up to 1.0, got: 2"
    end
  end
end
