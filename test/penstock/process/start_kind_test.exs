defmodule Penstock.Process.StartKindTest do
  # A supervisor calls the same function to start a child and to restart it. Penstock tells the
  # two apart by the supervisor's stack. The frames of that stack differ between kinds of
  # supervisors, and between versions of Erlang and Elixir. A child that its supervisor starts in
  # `init` counts as restarted, because the supervisor may itself be restarting.
  use ExUnit.Case, async: true

  alias Penstock.Process.StartKind

  defmodule Child do
    # The supervisor calls this function. It asks for the kind of the start, as the start function
    # of Penstock.Process.GatedChild does.
    def start_link(to, _ \\ nil, _ \\ nil) do
      kind = StartKind.of_caller()
      send(to, {:kind, kind})
      {:ok, spawn_link(fn -> receive(do: (:die -> exit(:boom))) end)}
    end

    def spec(id, restart \\ :permanent), do: %{id: id, start: {__MODULE__, :start_link, [self()]}, restart: restart}
  end

  defmodule Nested do
    use Supervisor
    def start_link(to), do: Supervisor.start_link(__MODULE__, to)

    @impl true
    def init(to) do
      child = %{id: :child, start: {Child, :start_link, [to]}}
      Supervisor.init([child], strategy: :one_for_one, max_restarts: 0)
    end
  end

  defmodule SimpleOneForOne do
    def init(to) do
      child = %{id: :child, start: {Child, :start_link, [to]}}
      {:ok, {%{strategy: :simple_one_for_one, intensity: 10, period: 5}, [child]}}
    end
  end

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp kinds(count), do: for(_ <- 1..count, do: assert_receive({:kind, _kind}) |> elem(1))

  defp die(pid), do: send(pid, :die)

  # Returns how many of three children the supervisor starts again when the last one dies.
  defp restarted(:one_for_all), do: 3
  defp restarted(_other), do: 1

  test "a DynamicSupervisor: a start is told from a restart" do
    {:ok, supervisor} = DynamicSupervisor.start_link([])
    {:ok, child} = DynamicSupervisor.start_child(supervisor, Child.spec(:child))
    assert kinds(1) == [:start]
    die(child)
    assert kinds(1) == [:restart]
  end

  test "a DynamicSupervisor with extra arguments, through a PartitionSupervisor: a start is told from a restart" do
    name = :"#{__MODULE__}.Partitions"
    spec = {DynamicSupervisor, extra_arguments: [self()]}
    {:ok, _} = PartitionSupervisor.start_link(child_spec: spec, name: name, partitions: 1)
    spec = %{Child.spec(:child) | start: {Child, :start_link, [:extra]}}
    {:ok, child} = DynamicSupervisor.start_child({:via, PartitionSupervisor, {name, 0}}, spec)
    assert kinds(1) == [:start]
    die(child)
    assert kinds(1) == [:restart]
  end

  for strategy <- [:one_for_one, :one_for_all, :rest_for_one] do
    test "a Supervisor, #{strategy}: its static children count as restarted, a child of restart_child as started" do
      strategy = unquote(strategy)
      {:ok, supervisor} = Supervisor.start_link([Child.spec(1), Child.spec(2)], strategy: strategy, max_restarts: 10)
      assert kinds(2) == [:restart, :restart]
      {:ok, child} = Supervisor.start_child(supervisor, Child.spec(3))
      assert kinds(1) == [:start]
      die(child)
      count = restarted(strategy)
      assert kinds(count) == List.duplicate(:restart, count)
      :ok = Supervisor.terminate_child(supervisor, 3)
      {:ok, _} = Supervisor.restart_child(supervisor, 3)
      assert kinds(1) == [:start]
    end
  end

  test "a simple_one_for_one supervisor of Erlang: a start is told from a restart" do
    {:ok, supervisor} = :supervisor.start_link(SimpleOneForOne, self())
    {:ok, child} = :supervisor.start_child(supervisor, [:extra])
    assert kinds(1) == [:start]
    die(child)
    assert kinds(1) == [:restart]
  end

  test "a PartitionSupervisor: each start of a partition counts as a restart" do
    name = :"#{__MODULE__}.Parts"
    {:ok, _} = PartitionSupervisor.start_link(child_spec: Child.spec(:child), name: name, partitions: 1)
    assert kinds(1) == [:restart]
    [{_, child, _, _}] = PartitionSupervisor.which_children(name)
    die(child)
    assert kinds(1) == [:restart]
  end

  test "a nested supervisor that its parent restarts: its static child counts as restarted" do
    nested = %{id: Nested, start: {Nested, :start_link, [self()]}, type: :supervisor}
    {:ok, top} = Supervisor.start_link([nested], strategy: :one_for_one)
    assert kinds(1) == [:restart]
    [{_, nested, _, _}] = Supervisor.which_children(top)
    [{_, child, _, _}] = Supervisor.which_children(nested)
    die(child)
    # With `max_restarts: 0` the nested supervisor ends when its child dies. Its parent starts the
    # nested supervisor again, which starts the child.
    assert kinds(1) == [:restart]
  end

  test "a nested supervisor that start_child starts: its static child counts as restarted" do
    {:ok, top} = DynamicSupervisor.start_link([])
    {:ok, _} = DynamicSupervisor.start_child(top, %{id: Nested, start: {Nested, :start_link, [self()]}})
    assert kinds(1) == [:restart]
  end

  test "GenStage's ConsumerSupervisor: a start is told from a restart" do
    # GenStage is no dependency, so the test writes the frames by hand.
    frame = fn module, function, arity -> {module, function, arity, []} end
    start = [frame.(ConsumerSupervisor, :start_events, 6), frame.(GenStage, :handle_info, 2)]
    restart = [frame.(ConsumerSupervisor, :restart_child, 3), frame.(GenStage, :handle_info, 2)]
    assert {StartKind.of(start), StartKind.of(restart)} == {:start, :restart}
  end

  test "a stack without frames counts as a restart" do
    assert StartKind.of([]) == :restart
  end
end
