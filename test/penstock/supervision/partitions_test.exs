defmodule Penstock.Supervision.PartitionsTest do
  # Tests the start, the pool and the end of Penstock's supervisors. Each case runs with
  # Penstock.DynamicSupervisor and with Penstock.Task.Supervisor.
  #
  # | scenario                             | rules out                                         |
  # |--------------------------------------|---------------------------------------------------|
  # | a limit of its own, or a shared gate | a child beyond the limit; a refusal that blocks   |
  # | several partitions                   | a limit for each partition                        |
  # | a partition is killed                | a permit that stays with its dead children        |
  # | the supervisor is killed             | children that live on; a pool that is not adopted |
  # | an orderly end                       | a name that stays taken                           |
  # | a restart while children end slowly  | a supervisor that cannot start again              |
  # | a caller killed while it waits       | a child or a permit that stays                    |
  # | bad input                            | a permit that is taken before the check           |
  use Penstock.PoolCase, async: true

  alias Penstock.Supervision.{Group, Partitions}

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp start!(module, opts) do
    name = unique_name()
    {:ok, pid} = module.start_link([name: name] ++ opts)
    {name, pid}
  end

  # Returns the pids of the partitions. A partition is one of Elixir's supervisors, and has
  # children.
  defp partitions(module, name) do
    for partition <- Group.partitions(Partitions.fetch!(module, name)), do: Process.whereis(partition)
  end

  defp one(module, name, opts \\ [])

  defp one(Penstock.DynamicSupervisor, name, opts) do
    spec = Supervisor.child_spec({Agent, fn -> 1 end}, restart: :temporary)
    Penstock.DynamicSupervisor.start_child(name, spec, opts)
  end

  defp one(Penstock.Task.Supervisor, name, opts) do
    Penstock.Task.Supervisor.start_child(name, fn -> receive(do: (:never -> :ok)) end, opts)
  end

  defp try_one(module, name) do
    one(module, name)
  rescue
    ArgumentError -> :not_there
  catch
    :exit, _reason -> :not_there
  end

  defp stop(Penstock.DynamicSupervisor, name), do: Penstock.DynamicSupervisor.stop(name)
  defp stop(Penstock.Task.Supervisor, name), do: GenServer.stop(name)

  for module <- [Penstock.DynamicSupervisor, Penstock.Task.Supervisor] do
    describe "#{inspect(module)}" do
      @module module

      test "registers its name, and owns the pool of the name" do
        name = unique_name()
        pid = start_supervised!({@module, name: name, limit: 3})
        assert Process.whereis(name) == pid
        assert Pool.info(name).owner == pid
        assert {:error, {:already_started, ^pid}} = @module.start_link(name: name, limit: 3)
      end

      test "admits up to its limit, which can be changed, and refuses while its processes are suspended" do
        {name, pid} = start!(@module, limit: 2, max_restarts: 5)
        assert {:ok, first} = one(@module, name)
        assert {:ok, second} = one(@module, pid)
        [partition] = partitions(@module, name)
        assert first in elem(Process.info(partition, :links), 1)
        for process <- [pid, partition], do: :ok = :sys.suspend(process)
        assert one(@module, name) == {:error, :full}
        for process <- [pid, partition], do: :ok = :sys.resume(process)
        :ok = Pool.update(name, limit: 3)
        assert {:ok, third} = one(@module, name)
        assert Enum.sort(for %{pid: pid} <- Pool.holders(name), do: pid) == Enum.sort([first, second, third])
        assert @module.terminate_child(name, second) == :ok
        assert {:ok, _} = one(@module, name, timeout: 5_000)
        assert @module.terminate_child(name, self()) == {:error, :not_found}
      end

      test "shares the budget of a gate" do
        pool = start_pool(limit: 2)
        {first, _} = start!(@module, gate: pool)
        {second, _} = start!(@module, gate: pool)
        {:ok, _} = one(@module, first)
        {:ok, child} = one(@module, second)
        assert {one(@module, first), one(@module, second)} == {{:error, :full}, {:error, :full}}
        kill(child)
        assert {:ok, _} = one(@module, first, timeout: 5_000)
        assert_raise ArgumentError, ~r/no pool named/, fn -> Pool.info(first) end
      end

      test "holds one limit over all partitions" do
        {name, _pid} = start!(@module, limit: 10, partitions: 3)
        children = for n <- 1..10, do: elem({:ok, _} = one(@module, name, partition_key: n), 1)
        assert one(@module, name, partition_key: 11) == {:error, :full}
        partitions = partitions(@module, name)
        under = for child <- children, do: Enum.find(partitions, &(child in elem(Process.info(&1, :links), 1)))
        assert length(Enum.uniq(under)) > 1
        # Children with the same key are in the same partition.
        kill(hd(children))
        {:ok, a} = one(@module, name, partition_key: :k, timeout: 5_000)
        kill(Enum.at(children, 1))
        {:ok, b} = one(@module, name, partition_key: :k, timeout: 5_000)
        of = fn child -> Enum.find(partitions, &(child in elem(Process.info(&1, :links), 1))) end
        assert of.(a) == of.(b)
        for child <- [a, b], do: assert(@module.terminate_child(name, child) == :ok)
        eventually(fn -> Pool.info(name).in_use == 8 end)
      end

      test "a partition that is killed takes its children and their permits with it" do
        {name, _pid} = start!(@module, limit: 100, partitions: 2)
        for n <- 1..100, do: {:ok, _} = one(@module, name, partition_key: n)
        [partition | _] = partitions(@module, name)
        count = length(elem(Process.info(partition, :links), 1)) - 1
        kill(partition)
        eventually(fn -> Pool.info(name).in_use == 100 - count end)

        eventually(fn -> match?([a, b] when is_pid(a) and is_pid(b), partitions(@module, name)) end)

        for n <- 1..count//1, do: {:ok, _} = one(@module, name, partition_key: n)
        assert one(@module, name) == {:error, :full}
      end

      test "that is killed takes its children along, and the next of its name adopts the pool" do
        {name, pid} = start!(@module, limit: 5, max_waiting: 7)
        for _ <- 1..5, do: {:ok, _} = one(@module, name)
        :ok = Pool.update(name, limit: 6)
        kill(pid)
        eventually(fn -> Pool.info(name).in_use == 0 end)
        {:ok, next} = @module.start_link(name: name, limit: 5, max_waiting: 7)
        assert %{limit: 6, owner: ^next, acquired: 5} = Pool.info(name)
      end

      test "that ends in an orderly way closes its pool, and the next of its name has a new one" do
        for {ending, n} <- Enum.with_index([:normal, :shutdown, {:shutdown, :why}, :stop]) do
          {name, pid} = start!(@module, limit: 5)
          {:ok, _} = one(@module, name)
          :ok = Pool.update(name, limit: 6)

          cond do
            ending == :stop -> :ok = stop(@module, name)
            rem(n, 2) == 0 -> :ok = GenServer.stop(pid, ending)
            true -> Process.exit(pid, ending) && assert_receive({:EXIT, ^pid, ^ending})
          end

          # The supervisor itself has freed the name before its end. So a start need not wait for
          # the janitor.
          {:ok, next} = @module.start_link(name: name, limit: 5)
          assert %{limit: 5, owner: ^next, acquired: 0, in_use: 0} = Pool.info(name)
          GenServer.stop(next)
          eventually(fn -> Penstock.Native.pool_info(name) == :no_pool end)
        end
      end

      test "leaves no permit and no name when its supervisor stops" do
        name = unique_name()
        pool = start_pool(limit: 3)
        {:ok, top} = Supervisor.start_link([{@module, name: name, gate: pool}], strategy: :one_for_one)
        for _ <- 1..3, do: {:ok, _} = one(@module, name)
        Supervisor.stop(top)
        eventually(fn -> counts(pool) == {0, 0, 0} end)

        assert_raise ArgumentError, Penstock.PoolCase.not_running(inspect(@module), name), fn ->
          one(@module, name)
        end

        # Now a process that is no supervisor has the name.
        Process.register(self(), name)
        assert_raise ArgumentError, fn -> one(@module, name) end
        Process.unregister(name)
        assert Pool.info(pool).acquired == 3
      end

      test "with two partitions is restarted after a kill, although its children end slowly" do
        name = unique_name()
        spec = {@module, name: name, limit: 10, partitions: 2}
        {:ok, top} = Supervisor.start_link([spec], strategy: :one_for_one)
        me = self()

        slow = fn ->
          Process.flag(:trap_exit, true)
          send(me, :ready)
          receive do: ({:EXIT, _, _} -> :ok)
          receive do: (:never -> :ok), after: (100 -> :ok)
        end

        for n <- 1..4 do
          {:ok, _} =
            if @module == Penstock.Task.Supervisor,
              do: @module.start_child(name, slow, partition_key: n),
              else:
                @module.start_child(name, Supervisor.child_spec({Task, slow}, restart: :temporary), partition_key: n)
        end

        for _ <- 1..4, do: assert_receive(:ready)
        old = Process.whereis(name)
        # When the partitions have ended, the supervisor above them logs the kill of the front and
        # ends. The test waits for that, because ExUnit captures the log only while the test runs.
        monitor = Process.monitor(:sys.get_state(old).below)
        kill(old)
        eventually(fn -> Process.whereis(name) not in [nil, old] and match?({:ok, _}, try_one(@module, name)) end)
        await_down(monitor)
        assert Process.alive?(top)
        Supervisor.stop(top)
      end

      @tag :capture_log
      test "raises for bad input, and takes no permit" do
        pool = start_pool(limit: 1)

        for {opts, message} <- [
              {[name: :x, max_children: 3, limit: 3],
               "the option :max_children bounds one partition only; use :limit, got: [max_children: 3]"},
              {[limit: 3], "the option :name is missing, such as {#{inspect(@module)}, "},
              {[name: "x", limit: 3], "expected :name to be an atom"},
              {[name: :x], "the option :limit or :gate is missing, such as {#{inspect(@module)}, "},
              {[name: :x, limit: -1], "expected :limit to be a non-negative integer or :infinity, got: -1"},
              {[name: :x, limit: 1, gate: pool], "expected options to be either :gate or those of a pool of its own"},
              {[name: :x, gate: MyApp.NoGate], "no gate named MyApp.NoGate is running"},
              {[name: :x, gate: "gate"], "expected gate to be the name of a gate"},
              {[name: :x, limit: 1, partitions: 0], "expected :partitions to be an integer between 1 and"},
              {[name: :x, limit: 1, colour: :red], "unknown option :colour. Known: "},
              {[name: :x, limit: 1, max_restarts: -1], "expected :max_restarts to be a non-negative integer, got: -1"},
              {[name: :x, limit: 1, max_seconds: 0], "expected :max_seconds to be a positive integer, got: 0"},
              {[name: :x, limit: 1, timeout: -5], "expected :timeout to be a number of milliseconds"},
              {:nope, "expected options to be a keyword list, got: :nope"}
            ] do
          error = assert_raise ArgumentError, fn -> @module.start_link(opts) end
          assert Exception.message(error) =~ message
        end

        # The start does not take over the pool of another owner.
        assert {:error, {:already_started, owner}} = @module.start_link(name: pool, limit: 1)
        assert owner == Pool.info(pool).owner

        {name, _} = start!(@module, limit: 1)

        for opts <- [[permits: 0], [timeout: -1], [max_runtime: 0], [colour: :red], :nope] do
          assert_raise ArgumentError, fn -> one(@module, name, opts) end
        end

        for sup <- [MyApp.NoSupervisor, self(), "name", {name, :node@nowhere}] do
          assert_raise ArgumentError, fn -> one(@module, sup) end
        end

        assert Pool.info(name).acquired == 0
      end

      test "raises for a wrong pid, and for a partition key that is too large" do
        {name, _pid} = start!(@module, limit: 5, partitions: 2)

        for bad <- [nil, :pid, "pid", make_ref()] do
          error = assert_raise ArgumentError, fn -> @module.terminate_child(name, bad) end
          assert error.message == "expected pid to be a pid, got: #{inspect(bad)}"
        end

        shared = Enum.reduce(1..100, 0, fn _, a -> {a, a} end)
        error = assert_raise ArgumentError, fn -> one(@module, name, partition_key: shared) end
        assert error.message =~ "expected :partition_key to be of at most 1024 bytes"
        assert Pool.info(name).in_use == 0
        assert {:ok, _child} = one(@module, name, partition_key: {:tenant, "a"})
      end

      test "kills and counts children past their :max_runtime" do
        {name, _} = start!(@module, limit: 1)
        {:ok, child} = one(@module, name, max_runtime: 30)
        monitor = Process.monitor(child)
        assert_receive {:DOWN, ^monitor, :process, ^child, reason}
        assert reason in [:killed, :noproc]
        eventually(fn -> Pool.info(name).killed == 1 end)
      end

      test "keeps no child and no permit for a caller that is killed while it waits" do
        {name, _pid} = start!(@module, limit: 1)
        [partition] = partitions(@module, name)
        :ok = :sys.suspend(partition)
        starter = spawn(fn -> one(@module, name) end)
        eventually(fn -> Pool.info(name).in_use == 1 end)
        kill(starter)
        :ok = Pool.acquire(name)
        :ok = Pool.release(name)
        :ok = :sys.resume(partition)
        # The partition now handles the request of the dead caller. The partition starts no child,
        # or the child ends at once.
        _ = :sys.get_state(partition)
        eventually(fn -> counts(name) == {0, 0, 0} and DynamicSupervisor.count_children(name).active == 0 end)
      end
    end
  end
end
