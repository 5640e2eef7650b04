defmodule Penstock.DynamicSupervisorTest do
  # Calls the functions that Elixir's `DynamicSupervisor` also has. Where the answers can be
  # compared, a test calls both supervisors: `ours` is Penstock's, `theirs` is Elixir's.
  use Penstock.PoolCase, async: true
  doctest Penstock.DynamicSupervisor

  import ExUnit.CaptureLog
  alias Penstock.DynamicSupervisor, as: Bounded

  defmodule Server do
    use GenServer

    def start_link(args), do: GenServer.start_link(__MODULE__, args)
    def start_link(extra, args), do: GenServer.start_link(__MODULE__, {extra, args})

    # Takes the next entry of the agent's list: a result for `init` to return, or a function that
    # starts no process.
    def start_by(agent) do
      case Agent.get_and_update(agent, fn [next | rest] -> {next, rest} end) do
        {:init, result} -> GenServer.start_link(__MODULE__, {:return, result})
        {:function, fun} -> fun.()
      end
    end

    @impl true
    def init({:return, result}), do: result
    def init(args), do: {:ok, args}

    @impl true
    def handle_call(:args, _from, args), do: {:reply, args, args}
    def handle_call({:stop, reason}, _from, args), do: {:stop, reason, :ok, args}
  end

  setup do
    Process.flag(:trap_exit, true)
    name = unique_name()
    start_supervised!({Bounded, name: name, limit: 10, max_restarts: 100})
    {:ok, plain} = DynamicSupervisor.start_link(max_restarts: 100)
    %{ours: name, theirs: plain}
  end

  defp both(%{ours: ours, theirs: theirs}, spec) do
    {DynamicSupervisor.start_child(theirs, spec), Bounded.start_child(ours, spec)}
  end

  defp stop(pid, reason) do
    monitor = Process.monitor(pid)

    capture_log(fn ->
      :ok = GenServer.call(pid, {:stop, reason})
      await_down(monitor)
    end)
  end

  test "takes every form of a child spec", context do
    for spec <- [
          {:id, {Server, :start_link, [1]}, :temporary, 5_000, :worker, [Server]},
          %{id: :id, start: {Server, :start_link, [1]}, restart: :temporary},
          {Server, 1},
          {Agent, fn -> 1 end}
        ] do
      assert {{:ok, _}, {:ok, _}} = both(context, spec)
    end

    strip = fn children -> children |> Enum.map(fn {id, _, type, modules} -> {id, type, modules} end) |> Enum.sort() end
    ours = Bounded.which_children(context.ours)
    assert strip.(ours) == strip.(DynamicSupervisor.which_children(context.theirs))
    assert Bounded.count_children(context.ours) == DynamicSupervisor.count_children(context.theirs)
  end

  test "puts extra arguments before the child's own" do
    name = unique_name()
    start_supervised!({Bounded, name: name, limit: 1, extra_arguments: [:extra]})
    {:ok, pid} = Bounded.start_child(name, {Server, :own})
    assert GenServer.call(pid, :args) == {:extra, :own}
  end

  test "returns DynamicSupervisor's error for a wrong child spec", context do
    start = {Server, :start_link, [1]}

    for spec <- [
          %{id: 1, start: {:foo, :bar, :baz}},
          %{id: 1, start: :foo},
          %{id: 1},
          %{id: 1, start: start, restart: :sometimes},
          %{id: 1, start: start, shutdown: -1},
          %{id: 1, start: start, shutdown: :soon},
          %{id: 1, start: start, modules: :all},
          {1, :nope, :temporary, 1, :worker, []}
        ] do
      assert {error, error} = both(context, spec)
      assert {:error, _} = error
    end

    assert counts(context.ours) == {0, 0, 0}

    assert_raise ArgumentError, ~r/does not exist|was given/, fn ->
      Bounded.start_child(context.ours, :no_such_module)
    end
  end

  test "passes on any value that the start function returns, and gives the permit back", context do
    for result <- [:ignore, {:error, :no}, :foo, {:ok, :not_a_pid}] do
      assert {same, same} = both(context, %{id: 1, start: {Function, :identity, [result]}})
      assert counts(context.ours) == {0, 0, 0}
    end

    pid = spawn_link(fn -> receive(do: (:never -> :ok)) end)

    assert {{:ok, ^pid, :info}, {:ok, ^pid, :info}} =
             both(context, %{id: 1, start: {Function, :identity, [{:ok, pid, :info}]}})

    assert Pool.info(context.ours).in_use == 1

    for {kind, shape} <- [throw: {:nocatch, :oops}, error: :oops, exit: :oops] do
      for {:error, reason} <- Tuple.to_list(both(context, %{id: 1, start: {:erlang, kind, [:oops]}})) do
        assert reason == shape or elem(reason, 0) == shape
      end
    end
  end

  test "restarts as the child spec says", context do
    for {restart, reason, again?} <- [
          {:temporary, :normal, false},
          {:temporary, :boom, false},
          {:transient, :normal, false},
          {:transient, :shutdown, false},
          {:transient, {:shutdown, :x}, false},
          {:transient, :boom, true},
          {:permanent, :normal, true},
          {:permanent, :shutdown, true},
          {:permanent, :boom, true}
        ] do
      {:ok, pid} = Bounded.start_child(context.ours, %{id: 1, start: {Server, :start_link, [1]}, restart: restart})
      stop(pid, reason)

      if again? do
        eventually(fn ->
          match?([{_, new, _, _}] when is_pid(new) and new != pid, Bounded.which_children(context.ours))
        end)

        [{_, new, _, _}] = Bounded.which_children(context.ours)
        eventually(fn -> match?([%{pid: ^new}], Pool.holders(context.ours)) end)
        :ok = Bounded.terminate_child(context.ours, new)
      end

      eventually(fn -> counts(context.ours) == {0, 0, 0} end)
      assert Bounded.count_children(context.ours).specs == 0
    end
  end

  test "a failed restart is repeated or given up as by DynamicSupervisor", context do
    for turn <- [
          {:init, :ignore},
          {:init, {:stop, :not_now}},
          {:function, fn -> {:error, :not_now} end},
          {:function, fn -> :garbage end},
          {:function, fn -> exit(:not_now) end}
        ] do
      for sup <- [:theirs, :ours] do
        {:ok, agent} = Agent.start_link(fn -> [{:init, {:ok, 1}}, turn | List.duplicate({:init, {:ok, 2}}, 3)] end)
        spec = %{id: 1, start: {Server, :start_by, [agent]}, restart: :permanent}

        {:ok, pid} =
          if sup == :ours,
            do: Bounded.start_child(context.ours, spec),
            else: DynamicSupervisor.start_child(context.theirs, spec)

        stop(pid, :boom)
        supervisor = if sup == :ours, do: context.ours, else: context.theirs
        capture_log(fn -> eventually(fn -> over?(supervisor, pid, turn) end) end)

        # After `:ignore` the supervisor removes the child. After any other result it starts the
        # child again.
        active = if turn == {:init, :ignore}, do: 0, else: 1
        assert %{active: ^active} = DynamicSupervisor.count_children(supervisor)
        if sup == :ours, do: eventually(fn -> Pool.info(context.ours).in_use == active end)

        for {_, pid, _, _} <- DynamicSupervisor.which_children(supervisor),
            do: DynamicSupervisor.terminate_child(supervisor, pid)

        eventually(fn -> counts(context.ours) == {0, 0, 0} end)
      end
    end
  end

  # Returns `true` once the supervisor has removed the child (after `:ignore`), or has started it
  # again.
  defp over?(supervisor, _old, {:init, :ignore}), do: DynamicSupervisor.count_children(supervisor).specs == 0

  defp over?(supervisor, old, _turn) do
    match?([{_, pid, _, _}] when is_pid(pid) and pid != old, DynamicSupervisor.which_children(supervisor))
  end

  test "gives up as DynamicSupervisor does, when a child fails too often" do
    for module <- [:theirs, :ours] do
      {:ok, supervisor} =
        if module == :ours,
          do: Bounded.start_link(name: unique_name(), limit: 5, max_restarts: 1, max_seconds: 60),
          else: DynamicSupervisor.start_link(max_restarts: 1, max_seconds: 60)

      start = if module == :ours, do: &Bounded.start_child/2, else: &DynamicSupervisor.start_child/2
      {:ok, pid} = start.(supervisor, {Server, 1})

      capture_log(fn ->
        stop(pid, :boom)

        eventually(fn ->
          match?([{_, new, _, _}] when is_pid(new) and new != pid, DynamicSupervisor.which_children(supervisor))
        end)

        [{_, pid, _, _}] = DynamicSupervisor.which_children(supervisor)
        stop(pid, :boom)
        assert_receive {:EXIT, ^supervisor, :shutdown}
      end)
    end
  end

  for {shutdown, reason} <- [{:brutal_kill, :killed}, {:infinity, :told}, {5_000, :told}, {1, :killed}] do
    test "ends a child as its shutdown says (#{inspect(shutdown)})", context do
      me = self()

      start = fn ->
        {:ok,
         spawn_link(fn ->
           Process.flag(:trap_exit, true)
           send(me, :ready)
           receive do: ({:EXIT, _, :shutdown} -> if(unquote(shutdown) != 1, do: exit(:told)))
           receive do: (:never -> :ok)
         end)}
      end

      spec = %{id: 1, start: {:erlang, :apply, [start, []]}, shutdown: unquote(shutdown), restart: :temporary}
      {:ok, pid} = Bounded.start_child(context.ours, spec)
      monitor = Process.monitor(pid)
      assert_receive :ready
      capture_log(fn -> assert Bounded.terminate_child(context.ours, pid) == :ok end)
      assert_receive {:DOWN, ^monitor, :process, ^pid, unquote(reason)}
      eventually(fn -> counts(context.ours) == {0, 0, 0} end)
    end
  end

  test "stop/3 ends all children, of all partitions" do
    for partitions <- [1, 3] do
      name = unique_name()
      {:ok, pid} = Bounded.start_link(name: name, limit: 20, partitions: partitions)

      children =
        for n <- 1..20, do: elem({:ok, _} = Bounded.start_child(name, {Agent, fn -> n end}, partition_key: n), 1)

      assert %{active: 20, workers: 20} = Bounded.count_children(name)
      assert Enum.sort(for {_, pid, _, _} <- Bounded.which_children(name), do: pid) == Enum.sort(children)
      assert Bounded.stop(name, :shutdown) == :ok
      assert_receive {:EXIT, ^pid, :shutdown}
      refute Enum.any?(children, &Process.alive?/1)
      assert_raise ArgumentError, ~r/no pool named/, fn -> Pool.info(name) end
    end
  end

  test "a waiter is served when a child ends", %{ours: ours} do
    children =
      for _ <- 1..10,
          do:
            elem(
              {:ok, _} =
                Bounded.start_child(ours, %{id: 1, start: {Agent, :start_link, [fn -> 1 end]}, restart: :temporary}),
              1
            )

    waiting = Task.async(fn -> Bounded.start_child(ours, {Agent, fn -> 2 end}, timeout: 5_000) end)
    await_waiting(ours, 1)
    kill(hd(children))
    assert {:ok, _} = Task.await(waiting)
  end

  test "$ancestors of a child begin with its partition and the name of the supervisor", %{ours: ours} do
    {:ok, agent} = Bounded.start_child(ours, {Agent, fn -> Process.get(:"$ancestors") end})
    partition = :"#{ours}.Partition1"
    assert [^partition, ^ours | _] = Agent.get(agent, & &1)
  end
end
