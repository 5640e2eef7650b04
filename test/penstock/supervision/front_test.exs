defmodule Penstock.Supervision.FrontTest do
  # Elixir's own functions, called with the name of one of Penstock's supervisors: what is left
  # over when an application moves from there to here.
  use Penstock.PoolCase, async: true

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

  # What starts something under a supervisor, in Elixir and in OTP.
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

      test "refuses each starting function of Elixir's, and nothing dies or starts" do
        %{name: name, pid: pid, pool: pool, below: below} = crew = start!(@kind, @partitions)
        {:ok, child} = child(crew, [])

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
      end

      test "names the function to call" do
        %{name: name} = start!(@kind, @partitions)
        answer = {:error, {:not_gated, "call #{inspect(@kind)}.start_child/3"}}
        assert DynamicSupervisor.start_child(name, {Agent, fn -> 1 end}) == answer
        assert Task.Supervisor.start_child(name, fn -> :ok end) == answer
      end

      test "answers what reads and what ends, for all partitions, through both modules" do
        %{name: name, pid: pid} = crew = start!(@kind, @partitions)
        pids = for n <- 1..4, do: elem({:ok, _} = child(crew, partition_key: n), 1)

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
        # A forged end of the supervisor below, which lives.
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

      test "answers while a partition is in the middle of a start, which it does not wait for" do
        %{name: name, below: [partition | _]} = start!(@kind, @partitions)
        :ok = :sys.suspend(partition)
        reader = Task.async(fn -> DynamicSupervisor.which_children(name) end)
        assert {:error, {:not_gated, _}} = DynamicSupervisor.start_child(name, {Agent, fn -> 1 end})
        assert {:error, _} = GenServer.call(name, :anything)
        :ok = :sys.resume(partition)
        assert Task.await(reader) == []
      end

      test "ends with the reason of what is below it, and takes that along when it is killed" do
        %{name: name, pid: pid, pool: pool, below: below} = crew = start!(@kind, @partitions)
        for n <- 1..4, do: {:ok, _} = child(crew, partition_key: n)
        monitors = for process <- below, do: Process.monitor(process)
        kill(pid)
        for monitor <- monitors, do: assert_receive({:DOWN, ^monitor, _, _, _})
        eventually(fn -> counts(pool) == {0, 0, 0} end)
        eventually(fn -> Process.whereis(name) == nil end)
        # Nothing is remembered of it.
        eventually(fn -> :ets.lookup(Penstock.Supervision.Directory, name) == [] end)
      end
    end
  end

  test "a supervisor that restarts too often ends its front, in the orderly way of supervisors" do
    name = unique_name()
    {:ok, pid} = Penstock.DynamicSupervisor.start_link(name: name, limit: 5, max_restarts: 0)
    {:ok, child} = Penstock.DynamicSupervisor.start_child(name, {Agent, fn -> 1 end})
    Process.exit(child, :kill)
    assert_receive {:EXIT, ^pid, :shutdown}
    eventually(fn -> Penstock.Native.pool_info(name) == :no_pool end)
  end

  test "no persistent term remembers a supervisor: its change would stop every process" do
    for kind <- [Penstock.DynamicSupervisor, Penstock.Task.Supervisor] do
      %{name: name} = crew = start!(kind, 1)
      assert {:ok, _} = child(crew, [])
      assert for({{_module, ^name} = key, _value} <- :persistent_term.get(), do: key) == []
    end
  end

  test "a child that OTP looks for by its id is not found" do
    %{name: name} = start!(Penstock.DynamicSupervisor, 1)

    for request <- [:which_child, :get_childspec],
        do: assert(GenServer.call(name, {request, :id}) == {:error, :not_found})
  end

  test "children are found when the directory is lost" do
    %{name: name, pid: pid} = crew = start!(Penstock.Task.Supervisor, 2)
    :ets.delete(Penstock.Supervision.Directory, name)
    assert {:ok, _} = child(crew, [])
    assert [{^name, %{pid: ^pid}}] = :ets.lookup(Penstock.Supervision.Directory, name)
  end

  test "a start that fails returns its error, and takes nobody along" do
    name = unique_name()
    Process.register(spawn(&never/0), :"#{name}.Partition1")
    assert {:error, {:already_started, _}} = Penstock.Task.Supervisor.start_link(name: name, limit: 1)
    assert Process.whereis(name) == nil
    assert_raise ArgumentError, fn -> Pool.info(name) end
  end
end
