defmodule Penstock.Test.BoundTest do
  # Tests which processes assert_bounded/3 counts, and that it disturbs neither the function nor
  # other tests.
  use ExUnit.Case, async: true

  import Penstock.Test
  alias MyApp.PlantedBugs

  @compile {:no_warn_undefined, :trace}

  defmodule Pair do
    # A server that answers with the pids of processes that it starts, in several forms.
    use GenServer
    def init(_arg), do: {:ok, nil}
    def handle_call(:pid, _from, state), do: {:reply, spawn(&PlantedBugs.block/0), state}
    def handle_call(:ok, _from, state), do: {:reply, {:ok, spawn(&PlantedBugs.block/0)}, state}
    def handle_call(:info, _from, state), do: {:reply, {:ok, spawn(&PlantedBugs.block/0), :info}, state}
    def handle_call(:hidden, _from, state), do: {:reply, {:hidden, spawn(&PlantedBugs.block/0)}, state}
  end

  defp failure(fun), do: assert_raise(ExUnit.AssertionError, fun).message

  # Asserts that the peak of a function is exactly `peak`.
  defp assert_peak(peak, fun, opts \\ []) do
    assert_bounded(peak, fun, opts)
    assert failure(fn -> assert_bounded(peak - 1, fun, opts) end) =~ "to live at once, but #{peak} did."
  end

  defp kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
  end

  test "returns the value, and runs the function in the calling process" do
    assert assert_bounded(0, fn -> self() end) == self()
  end

  test "counts the processes of each way to create one" do
    for create <- [
          fn -> spawn(fn -> :ok end) end,
          fn -> spawn_link(fn -> :ok end) end,
          fn -> spawn_monitor(fn -> :ok end) end,
          fn -> :proc_lib.spawn(fn -> :ok end) end,
          fn -> :erlang.spawn_request(fn -> :ok end, []) end,
          fn -> Task.await(Task.async(fn -> :ok end)) end,
          fn -> Agent.stop(elem(Agent.start_link(fn -> :ok end), 1)) end,
          fn -> Penstock.spawn(Penstock.Pool.new(limit: 1), fn -> :ok end) end
        ] do
      assert_peak(1, create)
    end
  end

  test "counts only processes that live at once" do
    one_by_one = fn -> for _ <- 1..50, do: kill(spawn(&PlantedBugs.block/0)) end
    assert_peak(1, one_by_one)
    message = failure(fn -> assert_bounded(0, one_by_one) end)
    assert message =~ "50 processes were created in all, and 0 of them are still alive."
  end

  test "counts descendants" do
    assert_peak(3, fn ->
      test = self()

      spawn(fn ->
        spawn(fn ->
          spawn(fn -> PlantedBugs.tell_and_block(test, :all) end)
          PlantedBugs.block()
        end)

        PlantedBugs.block()
      end)

      assert_receive :all
    end)
  end

  test "counts what a server creates and answers" do
    {:ok, server} = GenServer.start_link(Pair, nil)
    for request <- [:pid, :ok, :info], do: assert_peak(2, fn -> for _ <- 1..2, do: GenServer.call(server, request) end)
    hidden = fn -> for _ <- 1..2, do: GenServer.call(server, :hidden) end
    assert_bounded(0, hidden)
    assert_peak(2, hidden, servers: [server])
  end

  test "counts the children of supervisors, by its own and by descendants" do
    tasks = start_supervised!(Task.Supervisor)
    {:ok, plain} = Supervisor.start_link([], strategy: :one_for_one)
    name = start_gate!(:task_supervisor, limit: 10, partitions: 2)

    for start <- [
          fn -> Task.Supervisor.start_child(tasks, &PlantedBugs.block/0) end,
          fn -> Task.Supervisor.async_nolink(tasks, &PlantedBugs.block/0) end,
          fn -> Supervisor.start_child(plain, Supervisor.child_spec({Task, &PlantedBugs.block/0}, id: make_ref())) end,
          fn -> Penstock.Task.Supervisor.start_child(name, &PlantedBugs.block/0) end
        ] do
      assert_peak(2, fn -> for _ <- 1..2, do: start.() end)
    end

    # One task, and the child that it starts.
    assert_peak(2, fn ->
      Task.await(Task.async(fn -> elem(Task.Supervisor.start_child(tasks, &PlantedBugs.block/0), 1) end))
    end)
  end

  test "names the creators, most first, and what they run" do
    message =
      failure(fn ->
        assert_bounded(0, fn ->
          for _ <- 1..3, do: assert(is_pid(spawn(&PlantedBugs.block/0)))
          assert is_pid(spawn(&PlantedBugs.work/0))
        end)
      end)

    assert [three, one] = Regex.scan(~r/^  \d by .*$/m, message) |> List.flatten()
    assert three =~ "3 by "
    assert three =~ "Penstock.Test.BoundTest"
    assert three =~ ", which runs MyApp.PlantedBugs.block/0"
    assert one =~ "1 by "
    assert one =~ ", which runs MyApp.PlantedBugs.work/0"
  end

  test "what the function raises passes through, and no tracing stays" do
    assert_raise RuntimeError, "burst", fn -> assert_bounded(0, fn -> raise "burst" end) end
    assert catch_throw(assert_bounded(0, fn -> throw(:ball) end)) == :ball
    assert catch_exit(assert_bounded(0, fn -> exit(:gone) end)) == :gone
    assert :erlang.trace_info(self(), :flags) in [{:flags, []}, :undefined]
    assert_bounded(0, fn -> :ok end)
  end

  test "a bomb under a process that traps exits raises" do
    Process.flag(:trap_exit, true)
    message = failure(fn -> assert_bounded(1, fn -> for _ <- 1..5_000, do: spawn(&PlantedBugs.block/0) end) end)
    assert message =~ "More than 1,010 were too many to go on, so they were killed."
    refute_received {:EXIT, _pid, _reason}
  end

  test "a killed test leaves no tracing" do
    test = self()

    pid =
      spawn(fn ->
        assert_bounded(0, fn ->
          send(test, :traced)
          PlantedBugs.block()
        end)
      end)

    assert_receive :traced
    kill(pid)
    assert_bounded(0, fn -> :ok end)
  end

  test "many at once" do
    1..20
    |> Enum.map(fn n ->
      Task.async(fn -> assert_peak(n, fn -> for _ <- 1..n, do: spawn(&PlantedBugs.block/0) end) end)
    end)
    |> Task.await_many(Penstock.PoolCase.patience(60_000))
  end

  test "one within another: from OTP 27 on" do
    nested = fn -> assert_bounded(1, fn -> assert_bounded(1, fn -> spawn(fn -> :ok end) end) end) end

    if :erlang.system_info(:otp_release) >= ~c"27" do
      assert is_pid(nested.())
    else
      assert_raise RuntimeError, ~r/called within another function of Penstock.Test that traces/, nested
    end
  end

  test "bad arguments" do
    for {args, message} <- [
          {[-1, fn -> :ok end], "expected max to be an integer between 0 and 2147483647, got: -1"},
          {[1, :fun], "expected fun to be a function of arity 0, got: :fun"},
          {[1, fn -> :ok end, [server: 1]], "unknown option :server, did you mean :servers? Known: :servers"},
          {[1, fn -> :ok end, [servers: [NoServer]]],
           "expected :servers to be a list of pids and names of running processes, got: NoServer"},
          {[1, fn -> :ok end, [servers: 7]],
           "expected :servers to be a list of pids and names of running processes, got: 7"}
        ] do
      assert_raise ArgumentError, message, fn -> apply(Penstock.Test, :assert_bounded, args) end
    end
  end
end
