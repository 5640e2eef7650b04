defmodule Penstock.Supervision.FrontTest do
  # Calls Elixir's own functions with the name of a Penstock supervisor. An application that moves
  # to Penstock may still have such calls. Most cases run with one partition and with two. With
  # two, another supervisor is between the front and the partitions.
  #
  # | call or event                          | rules out                                 |
  # |----------------------------------------|-------------------------------------------|
  # | each function that starts a child      | a child that the limit does not count     |
  # | functions that read or end children    | an answer for one partition only          |
  # | messages, calls and exits of strangers | a front that ends                         |
  # | a suspended partition                  | a front that waits for the partition      |
  # | the kill of the front                  | partitions, children or a name that stay  |
  # | a partition with too many restarts     | a front that lives on without a partition |
  # | the directory loses the supervisor     | a supervisor that callers no longer find  |
  # | a partition's name that is taken       | a caller that dies of the failed start    |
  use Penstock.PoolCase, async: true

  import Penstock.CrashReports

  alias Penstock.Supervision.{Group, Partitions}

  @moduletag :capture_log

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp never, do: receive(do: (:never -> :ok))

  defp start!(kind, partitions) do
    name = unique_name()
    pool = start_pool(limit: 100)
    {:ok, pid} = kind.start_link(name: name, gate: pool, partitions: partitions)
    below = for partition <- Group.partitions(Partitions.fetch!(kind, name)), do: Process.whereis(partition)
    %{kind: kind, name: name, pid: pid, pool: pool, below: below}
  end

  defp child(%{kind: Penstock.DynamicSupervisor, name: name}, opts) do
    Penstock.DynamicSupervisor.start_child(name, %{id: 1, start: {Agent, :start_link, [fn -> 1 end]}}, opts)
  end

  defp child(%{name: name}, opts), do: Penstock.Task.Supervisor.start_child(name, &never/0, opts)

  # The functions of Elixir and OTP that start a child of a supervisor.
  defp starting do
    spec = %{id: 1, start: {Agent, :start_link, [fn -> 1 end]}}

    [
      &DynamicSupervisor.start_child(&1, spec),
      &DynamicSupervisor.start_child(&1, {Agent, fn -> 1 end}),
      &Supervisor.start_child(&1, spec),
      &Supervisor.restart_child(&1, Agent),
      &:supervisor.start_child(&1, [:extra]),
      &Task.Supervisor.start_child(&1, fn -> :ok end),
      &Task.Supervisor.start_child(&1, fn -> :ok end, restart: :permanent),
      &Task.Supervisor.start_child(&1, Kernel, :self, []),
      &Task.Supervisor.async(&1, fn -> :ok end),
      &Task.Supervisor.async(&1, Kernel, :self, []),
      &Task.Supervisor.async_nolink(&1, fn -> :ok end),
      &Enum.to_list(Task.Supervisor.async_stream(&1, [1], fn x -> x end)),
      &Enum.to_list(Task.Supervisor.async_stream_nolink(&1, [1], fn x -> x end))
    ]
  end

  defp shown(function, name) do
    inspect(function.(name))
  rescue
    error -> Exception.message(error)
  catch
    :exit, reason -> inspect(reason)
  end

  for kind <- [Penstock.DynamicSupervisor, Penstock.Task.Supervisor], partitions <- [1, 2] do
    describe "#{inspect(kind)} with #{partitions} partitions" do
      @kind kind
      @partitions partitions

      test "refuses each Elixir function that starts a child, and nothing dies or starts" do
        %{name: name, pid: pid, pool: pool, below: below} = started = start!(@kind, @partitions)
        {:ok, child} = child(started, [])

        for supervisor <- [name, pid], function <- starting() do
          shown = shown(function, supervisor)
          assert shown =~ "not_gated"
          assert shown =~ "call #{inspect(@kind)}."
        end

        assert Process.whereis(name) == pid
        assert Enum.all?([child | below], &Process.alive?/1)
        assert DynamicSupervisor.count_children(name).active == 1
        assert Pool.info(pool).in_use == 1
        refute_received {:EXIT, ^pid, _}
        # A stream of `Task.Supervisor` starts a bare process, which crashes at the refusal. The
        # VM may log that crash after the call has returned.
        await_crash_reports()
      end

      test "names the function to call" do
        %{name: name} = start!(@kind, @partitions)
        answer = {:error, {:not_gated, "call #{inspect(@kind)}.start_child/3"}}
        assert DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}) == answer
        assert Task.Supervisor.start_child(name, fn -> :ok end) == answer
      end

      test "answers Elixir's functions that read or end children, for all partitions" do
        %{name: name, pid: pid} = started = start!(@kind, @partitions)
        pids = for n <- 1..4, do: elem({:ok, _} = child(started, partition_key: n), 1)

        assert Enum.sort(for {:undefined, pid, :worker, _} <- DynamicSupervisor.which_children(name), do: pid) ==
                 Enum.sort(pids)

        assert Enum.sort(for {_, pid, _, _} <- Supervisor.which_children(pid), do: pid) == Enum.sort(pids)
        assert Enum.sort(Task.Supervisor.children(name)) == Enum.sort(pids)
        counts = %{active: 4, specs: 4, supervisors: 0, workers: 4}
        assert DynamicSupervisor.count_children(name) == counts
        assert Supervisor.count_children(name) == counts
        [first, second | rest] = pids
        assert DynamicSupervisor.terminate_child(name, first) == :ok
        assert Task.Supervisor.terminate_child(name, second) == :ok
        assert DynamicSupervisor.terminate_child(name, first) == {:error, :not_found}
        assert Supervisor.terminate_child(name, :id) == {:error, :not_found}
        assert Supervisor.delete_child(name, :id) == {:error, :not_found}
        assert :supervisor.get_childspec(name, :id) == {:error, :not_found}
        assert Enum.sort(Task.Supervisor.children(name)) == Enum.sort(rest)
        assert DynamicSupervisor.stop(name) == :ok
        for pid <- rest, do: refute(Process.alive?(pid))
        assert Process.whereis(name) == nil
      end

      test "is ended by no message, call, cast or link of a stranger" do
        %{name: name, pid: pid, below: below} = start!(@kind, @partitions)
        requests = [:anything, {:start_task, 1}, {:terminate_child, 1, 2}, nil, {:start_child}, %{}, "", {:a, :b}]
        for request <- requests, do: assert({:error, _} = GenServer.call(name, request))
        stranger = spawn(&never/0)
        downs = [{:DOWN, make_ref(), :process, stranger, :x}, {make_ref(), :answer}]
        # The second EXIT is forged: its sender, the process below the front, is alive.
        others = [{:EXIT, stranger, :kill}, {:EXIT, hd(below), :kill} | downs]
        for message <- requests ++ others, do: send(name, message)
        for message <- requests, do: GenServer.cast(name, message)
        {_task, monitor} = spawn_monitor(fn -> Process.link(pid) && exit(:boom) end)
        assert_receive {:DOWN, ^monitor, _, _, :boom}
        assert {:status, ^pid, _, _} = :sys.get_status(name)
        assert :supervisor.get_callback_module(pid) == @kind
        assert [_ | _] = below
        assert DynamicSupervisor.count_children(name).active == 0
        assert Process.whereis(name) == pid
        assert Enum.all?(below, &Process.alive?/1)
      end

      test "answers while a partition is busy" do
        %{name: name, below: [partition | _]} = start!(@kind, @partitions)
        :ok = :sys.suspend(partition)
        reader = Task.async(fn -> DynamicSupervisor.which_children(name) end)
        assert {:error, {:not_gated, _}} = DynamicSupervisor.start_child(name, {Agent, fn -> 1 end})
        assert {:error, _} = GenServer.call(name, :anything)
        :ok = :sys.resume(partition)
        assert Task.await(reader) == []
      end

      test "takes its partitions and their children along when it is killed" do
        %{name: name, pid: pid, pool: pool, below: below} = started = start!(@kind, @partitions)
        for n <- 1..4, do: {:ok, _} = child(started, partition_key: n)
        # Before a supervisor below the front ends, it logs the kill of its parent. The test waits
        # for these supervisors, because ExUnit captures the log only while the test runs.
        group = :sys.get_state(pid).below
        monitors = for process <- Enum.uniq([group | below]), do: Process.monitor(process)
        kill(pid)
        for monitor <- monitors, do: assert_receive({:DOWN, ^monitor, _, _, _})
        eventually(fn -> counts(pool) == {0, 0, 0} end)
        eventually(fn -> Process.whereis(name) == nil end)
        # The janitor removes the name from the directory.
        eventually(fn -> :ets.lookup(Penstock.Supervision.Directory, name) == [] end)
      end
    end
  end

  test "a partition that restarts too often ends its front with :shutdown" do
    name = unique_name()
    {:ok, pid} = Penstock.DynamicSupervisor.start_link(name: name, limit: 5, max_restarts: 0)
    {:ok, child} = Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end})
    Process.exit(child, :kill)
    assert_receive {:EXIT, ^pid, :shutdown}
    eventually(fn -> Penstock.Native.pool_info(name) == :no_pool end)
  end

  test "no persistent term has a supervisor's name, because a change of one makes the VM scan all processes" do
    for kind <- [Penstock.DynamicSupervisor, Penstock.Task.Supervisor] do
      %{name: name} = started = start!(kind, 1)
      assert {:ok, _} = child(started, [])
      assert for({{_module, ^name} = key, _value} <- :persistent_term.get(), do: key) == []
    end
  end

  test "a child that OTP looks for by its id is not found" do
    %{name: name} = start!(Penstock.DynamicSupervisor, 1)

    for request <- [:which_child, :get_childspec],
        do: assert(GenServer.call(name, {request, :id}) == {:error, :not_found})
  end

  test "a child can be started after the directory has lost the supervisor" do
    %{name: name, pid: pid} = started = start!(Penstock.Task.Supervisor, 2)
    :ets.delete(Penstock.Supervision.Directory, name)
    assert {:ok, _} = child(started, [])
    assert [{^name, %{pid: ^pid}}] = :ets.lookup(Penstock.Supervision.Directory, name)
  end

  test "a failed start returns its error, and does not end the caller" do
    name = unique_name()
    Process.register(spawn(&never/0), :"#{name}.Partition1")
    assert {:error, {:already_started, _}} = Penstock.Task.Supervisor.start_link(name: name, limit: 1)
    assert Process.whereis(name) == nil
    assert_raise ArgumentError, fn -> Pool.info(name) end
  end
end
