defmodule Penstock.Process.GatedChildTest do
  # Children behind a gate, under each kind of supervisor. Restarts are in
  # gated_child_restart_test.exs.
  use Penstock.PoolCase, async: true

  import ExUnit.CaptureLog
  import Penstock.GatedChildren

  alias Penstock.GatedChildren.Child

  defmodule SimpleOneForOne do
    def init({intensity, spec}) do
      {:ok, {%{strategy: :simple_one_for_one, intensity: intensity, period: 5}, [spec]}}
    end
  end

  # Starts a child for each event as GenStage's consumer supervisor does: in a `handle_info`, not
  # in a call, and with the event as the last argument.
  defmodule Consumers do
    use GenServer
    def start_link(spec), do: GenServer.start_link(__MODULE__, spec)

    @impl true
    def init(spec) do
      Process.flag(:trap_exit, true)
      {:ok, spec}
    end

    @impl true
    def handle_info({:events, from, events}, %{start: {m, f, a}} = spec) do
      send(from, {:started, for(event <- events, do: apply(m, f, a ++ [event]))})
      {:noreply, spec}
    end

    def handle_info(_other, spec), do: {:noreply, spec}
  end

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  describe "child_spec/2" do
    test "keeps all fields but the start, and adds the modules" do
      for {given, id, modules} <- [
            {{Agent, fn -> 1 end}, Agent, [Agent]},
            {%{id: :mine, start: {Agent, :start_link, [fn -> 1 end]}}, :mine, [Agent]},
            {%{id: 1, start: {Agent, :start_link, []}, modules: :dynamic}, 1, :dynamic},
            {Child, Child, [Child]},
            {{:old, {Agent, :start_link, []}, :permanent, 5_000, :worker, [Agent]}, :old, [Agent]}
          ] do
        spec = Penstock.child_spec(given, MyApp.NoPool)
        assert %{id: ^id, modules: ^modules} = spec
        plain = Penstock.Process.GatedChild.spec(given)
        assert Map.drop(spec, [:start, :modules]) == Map.drop(plain, [:start, :modules])
      end

      full = %{
        id: 1,
        start: {Agent, :start, []},
        restart: :transient,
        shutdown: 7,
        type: :supervisor,
        significant: true,
        modules: [A]
      }

      assert Map.delete(Penstock.child_spec(full, MyApp.NoPool), :start) == Map.delete(full, :start)
    end

    test "passes a wrong child spec on to the supervisor, or raises as Supervisor does" do
      pool = Pool.new(limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link([])

      for spec <- [%{id: 1, start: :foo}, %{id: 1, start: {Agent, :start_link, :no}}, %{id: 1}] do
        assert DynamicSupervisor.start_child(supervisor, Penstock.child_spec(spec, pool)) ==
                 DynamicSupervisor.start_child(supervisor, spec)
      end

      for spec <- [:no_such_module, {:no_such_module, 1}, "spec"] do
        plain = assert_raise ArgumentError, fn -> Supervisor.child_spec(spec, []) end
        ours = assert_raise ArgumentError, fn -> Penstock.child_spec(spec, pool) end
        assert Exception.message(ours) == Exception.message(plain)
      end

      assert_raise ArgumentError, ~r/expected gate to be/, fn -> Penstock.child_spec(Agent, "pool") end
      assert Pool.info(pool).acquired == 0
    end

    test "returns the permit if the start function starts nothing, and the error is the same as without a gate" do
      pool = Pool.new(limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link([])

      for result <- [:foo, {:ok, :not_a_pid}, :ignore, {:error, :no}, {:ok, :no, :way}] do
        spec = %{id: 1, start: {Function, :identity, [result]}}

        assert DynamicSupervisor.start_child(supervisor, Penstock.child_spec(spec, pool)) ==
                 DynamicSupervisor.start_child(supervisor, spec)

        assert counts(pool) == {0, 0, 0}
      end

      spec = Penstock.child_spec(%{id: 1, start: {:erlang, :error, [:oops]}}, pool)
      assert {:error, {:oops, _stack}} = DynamicSupervisor.start_child(supervisor, spec)
      assert counts(pool) == {0, 0, 0}
    end
  end

  describe "a start" do
    test "is admitted or refused under every supervisor, and passes on the arguments that the supervisor adds" do
      for pool <- both(limit: 1) do
        {:ok, dynamic} = DynamicSupervisor.start_link(extra_arguments: [:before])
        {:ok, simple} = :supervisor.start_link(SimpleOneForOne, {3, spec(:ours, pool, restart: :temporary)})
        {:ok, static} = Supervisor.start_link([], strategy: :one_for_one)

        for {start, args, stop} <- [
              {fn -> DynamicSupervisor.start_child(dynamic, spec(:ours, pool)) end, [:before, :ours, nil],
               &DynamicSupervisor.terminate_child(dynamic, &1)},
              {fn -> :supervisor.start_child(simple, [:behind]) end, [:ours, :behind, nil],
               &:supervisor.terminate_child(simple, &1)},
              {fn -> Supervisor.start_child(static, spec(:ours, pool)) end, [:ours, nil, nil],
               fn _ -> Supervisor.terminate_child(static, :ours) end}
            ] do
          assert {:ok, pid} = start.()
          assert GenServer.call(pid, :args) == args
          assert [%{pid: ^pid}] = Pool.holders(pool)
          assert {:error, reason} = if(stop, do: DynamicSupervisor.start_child(dynamic, spec(:more, pool)))
          assert reason == :full
          :ok = stop.(pid)
          :ok = Pool.acquire(pool)
          :ok = Pool.release(pool)
        end

        # A full pool also refuses a stopped child that is started again, and a child of
        # simple_one_for_one.
        :ok = Pool.acquire(pool)
        assert Supervisor.restart_child(static, :ours) == {:error, :full}
        assert :supervisor.start_child(simple, []) == {:error, :full}
        :ok = Pool.release(pool)
        assert {:ok, _} = Supervisor.restart_child(static, :ours)
        rejected = Pool.info(pool).rejected
        assert rejected == 5
      end
    end

    test "by a consumer supervisor has the event as last argument, and counts as a restart" do
      pool = Pool.new(limit: 1, max_overdraft: 1)
      {:ok, consumers} = Consumers.start_link(spec(:ours, pool, restart: :temporary))
      send(consumers, {:events, self(), [:e1, :e2, :e3]})
      assert_receive {:started, [{:ok, first}, {:ok, second}, {:error, :full}]}
      assert Enum.map([first, second], &GenServer.call(&1, :args)) == [[:ours, :e1, nil], [:ours, :e2, nil]]
      assert %{in_use: 2, overdraft: 1} = Pool.info(pool)
    end

    test "behind start functions that call each other is not taken for a restart" do
      [inner, outer] = [Pool.new(limit: 1), Pool.new(limit: 5)]
      {:ok, static} = Supervisor.start_link([], strategy: :one_for_one)
      %{start: gated} = spec(:ours, inner)
      nested = %{id: :ours, start: {__MODULE__, :translated, [gated]}} |> Penstock.child_spec(outer)
      :ok = Pool.acquire(inner)
      assert {:error, {{:translated, :full}, _child}} = Supervisor.start_child(static, nested)
      :ok = Pool.release(inner)
      assert {:ok, _} = Supervisor.start_child(static, nested)
      assert {Pool.info(inner).in_use, Pool.info(outer).in_use} == {1, 1}
    end

    def translated({module, function, args}), do: inner(module, function, args)

    defp inner(module, function, args) do
      with {:error, reason} <- apply(module, function, args), do: {:error, {:translated, reason}}
    end

    test "behind a gate that is not running raises, and behind one that is closed is refused" do
      {:ok, supervisor} = DynamicSupervisor.start_link([])
      assert {:error, {%ArgumentError{} = error, _}} = DynamicSupervisor.start_child(supervisor, spec(1, MyApp.NoPool))
      assert Exception.message(error) =~ "no gate named MyApp.NoPool is running"
      pool = Pool.new(limit: 1)
      :ok = Pool.drain(pool)
      assert DynamicSupervisor.start_child(supervisor, spec(1, pool)) == {:error, :closed}
    end
  end

  describe "behind a name that was never started" do
    @misspelt MyApp.Misspelt

    test "a static child fails to start, with the name in the error" do
      assert {:error, {:shutdown, {:failed_to_start_child, 1, {:EXIT, {%ArgumentError{message: message}, _stack}}}}} =
               Supervisor.start_link([spec(1, @misspelt)], strategy: :one_for_one)

      assert message =~ "named MyApp.Misspelt is running"
    end

    test "a child of start_child fails to start, with the name in the error" do
      {:ok, supervisor} = DynamicSupervisor.start_link([])
      assert {:error, {%ArgumentError{message: message}, _}} = start_child(supervisor, @misspelt)
      assert message =~ "named MyApp.Misspelt is running"
      assert DynamicSupervisor.count_children(supervisor).active == 0
      Supervisor.stop(supervisor)
    end

    defp start_child(supervisor, gate) do
      with {:error, {:EXIT, reason}} <- DynamicSupervisor.start_child(supervisor, spec(1, gate)), do: {:error, reason}
    end
  end

  test "a static child behind a gate that has ended runs unguarded, since its supervisor may be restarting" do
    name = start_pool(limit: 1)
    :ok = stop_supervised({Pool, name})

    log =
      capture_log(fn ->
        {:ok, supervisor} = Supervisor.start_link([spec(1, name)], strategy: :one_for_one)
        assert [_child] = pids(supervisor)
        Supervisor.stop(supervisor)
      end)

    assert log =~ "the gate #{inspect(name)} is not running any more: "
    assert log =~ "starts a child unguarded"
  end

  describe "static children" do
    test "exceed the limit while their supervisor initialises, up to max_overdraft" do
      pool = Pool.new(limit: 1, max_overdraft: 1)
      {:ok, supervisor} = Supervisor.start_link([spec(1, pool), spec(2, pool)], strategy: :one_for_one)
      assert %{in_use: 2, overdraft: 1} = Pool.info(pool)
      children = [spec(3, pool)]

      assert {:error, {:shutdown, {:failed_to_start_child, 3, :full}}} =
               Supervisor.start_link(children, strategy: :one_for_one)

      Supervisor.stop(supervisor)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    test "of a nested supervisor that its parent starts again keep their permits" do
      pool = Pool.new(limit: 2, max_overdraft: 2)

      nested = %{
        id: :nested,
        start: {Supervisor, :start_link, [[spec(1, pool), spec(2, pool)], [strategy: :one_for_one]]}
      }

      {:ok, top} =
        Supervisor.start_link([Map.put(nested, :type, :supervisor)], strategy: :one_for_one, max_restarts: 100)

      for _ <- 1..20 do
        [{_, nested, _, _}] = Supervisor.which_children(top)
        Process.exit(nested, :kill)

        eventually(fn ->
          match?([{_, new, _, _}] when is_pid(new) and new != nested, Supervisor.which_children(top))
        end)

        assert Pool.info(pool).in_use in 2..4
      end

      Supervisor.stop(top)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    test "of a PartitionSupervisor, one for each partition" do
      pool = Pool.new(limit: 4)
      name = :"#{__MODULE__}.Partitions"
      {:ok, supervisor} = PartitionSupervisor.start_link(child_spec: spec(1, pool), name: name, partitions: 4)
      assert Pool.info(pool).in_use == 4
      [{_, child, _, _} | _] = PartitionSupervisor.which_children(name)
      kill(child)
      eventually(fn -> PartitionSupervisor.count_children(name).active == 4 and Pool.info(pool).in_use == 4 end)
      Supervisor.stop(supervisor)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end
  end
end
