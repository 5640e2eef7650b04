defmodule Penstock.Process.GatedChildTest do
  # Children behind a gate, under every kind of supervisor there is.
  use Penstock.PoolCase, async: true

  import ExUnit.CaptureLog

  defmodule Child do
    use GenServer

    # Extra arguments of supervisors come before ours or after.
    def start_link(a, b \\ nil, c \\ nil), do: GenServer.start_link(__MODULE__, [a, b, c])

    @impl true
    def init(args), do: {:ok, args}

    @impl true
    def handle_call(:args, _from, args), do: {:reply, args, args}
  end

  defmodule SimpleOneForOne do
    def init({intensity, spec}) do
      {:ok, {%{strategy: :simple_one_for_one, intensity: intensity, period: 5}, [spec]}}
    end
  end

  # As GenStage's: it starts a child for each event, which is the last argument, and does not wait to be asked.
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

  defp spec(id, gate, opts \\ []) do
    %{id: id, start: {Child, :start_link, [id]}, restart: Keyword.get(opts, :restart, :permanent)}
    |> Penstock.child_spec(gate)
  end

  defp spec_of(id), do: %{id: id, start: {Child, :start_link, [id]}}

  defp pids(supervisor), do: for({_, pid, _, _} <- Supervisor.which_children(supervisor), is_pid(pid), do: pid)

  # Of a child that has been restarted, by who is there instead.
  defp restarted(supervisor, old),
    do: eventually(fn -> length(pids(supervisor)) == length(old) and old -- pids(supervisor) == old end)

  describe "child_spec/2" do
    test "keeps all but the start, and says the modules" do
      for {given, id, modules} <- [
            {{Agent, fn -> 1 end}, Agent, [Agent]},
            {%{id: :mine, start: {Agent, :start_link, [fn -> 1 end]}}, :mine, [Agent]},
            {%{id: 1, start: {Agent, :start_link, []}, modules: :dynamic}, 1, :dynamic},
            {Penstock.Process.GatedChildTest.Child, Penstock.Process.GatedChildTest.Child, [Child]},
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

    test "leaves what is no child spec to the supervisor, or raises as Supervisor does" do
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

    test "a start function that returns garbage gets the error of the plain supervisor, and the permit is back" do
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
    test "is admitted or refused under every supervisor, with the arguments that these add" do
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

        # Refused where it is asked for, too.
        :ok = Pool.acquire(pool)
        assert Supervisor.restart_child(static, :ours) == {:error, :full}
        assert :supervisor.start_child(simple, []) == {:error, :full}
        :ok = Pool.release(pool)
        assert {:ok, _} = Supervisor.restart_child(static, :ours)
        rejected = Pool.info(pool).rejected
        assert rejected == 5
      end
    end

    test "of consumers' supervisors has the event last, and counts as a restart" do
      pool = Pool.new(limit: 1, max_overdraft: 1)
      {:ok, consumers} = Consumers.start_link(spec(:ours, pool, restart: :temporary))
      send(consumers, {:events, self(), [:e1, :e2, :e3]})
      assert_receive {:started, [{:ok, first}, {:ok, second}, {:error, :full}]}
      assert Enum.map([first, second], &GenServer.call(&1, :args)) == [[:ours, :e1, nil], [:ours, :e2, nil]]
      assert %{in_use: 2, overdraft: 1} = Pool.info(pool)
    end

    test "is told from a restart also behind start functions that call each other" do
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

  describe "a restart" do
    test "takes over the permit of its predecessor, however many want it" do
      for pool <- both(limit: 3) do
        {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000)
        for n <- 1..3, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))
        parked = for _ <- 1..5, do: park(pool)

        for _ <- 1..20 do
          old = pids(supervisor)
          Enum.each(old, &Process.exit(&1, :kill))
          restarted(supervisor, old)
        end

        # A waiter may have taken one of the permits. The restarts then exceeded the limit, and
        # the overdraft is paid back first.
        info = Pool.info(pool)
        assert info.in_use <= 6 and info.overdraft == info.in_use - 3
        assert DynamicSupervisor.count_children(supervisor).active == 3
        Enum.each(parked, fn {pid, _} -> kill(pid) end)
        eventually(fn -> Pool.info(pool).in_use == 3 end)
        Supervisor.stop(supervisor)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end

    test "passes the limit up to max_overdraft, which is paid back before anybody is admitted" do
      pool = Pool.new(limit: 4, max_overdraft: 2)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      for n <- 1..2, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))
      holders = for _ <- 1..2, do: holder(pool)
      :ok = Pool.update(pool, limit: 2)

      # Whether its predecessor's permit was back by then or not.
      for _ <- 1..5 do
        old = pids(supervisor)
        Process.exit(hd(old), :kill)
        eventually(fn -> length(pids(supervisor)) == 2 and hd(old) not in pids(supervisor) end)
        eventually(fn -> Pool.info(pool).overdraft == 2 end)
        assert Penstock.spawn(pool, fn -> :never end) == {:error, :full}
      end

      Enum.each(holders, &kill/1)
      eventually(fn -> Pool.info(pool).overdraft == 0 end)
      assert Penstock.spawn(pool, fn -> :never end) == {:error, :full}
      :ok = DynamicSupervisor.terminate_child(supervisor, hd(pids(supervisor)))
      :ok = Pool.acquire(pool)
    end

    test "after a shrink brings back what was in use, for any max_overdraft" do
      for opts <- [[limit: 60], [limit: 60, max_overdraft: 0], [limit: 60, max_overdraft: 20]] do
        pool = Pool.new(opts)
        {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 1_000)
        for n <- 1..60, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))
        :ok = Pool.update(pool, limit: 20)

        for _ <- 1..5 do
          old = Enum.take_random(pids(supervisor), 10)
          rejected = Pool.info(pool).rejected
          Enum.each(old, &Process.exit(&1, :kill))
          eventually(fn -> length(pids(supervisor)) == 60 and old -- pids(supervisor) == old end)
          eventually(fn -> Pool.info(pool).in_use == 60 end)
          assert Pool.info(pool).rejected == rejected
        end

        Supervisor.stop(supervisor)
      end
    end

    test "behind a closed gate has no longer to run than any other" do
      pool = Pool.new(limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      start = {Child, :start_link, [1]}
      gated = %Penstock.Process.GatedChild{gate: pool, start: start, max_runtime: 100}

      {:ok, child} =
        DynamicSupervisor.start_child(supervisor, Penstock.Process.GatedChild.child_spec(%{id: 1, start: start}, gated))

      capture_log(fn ->
        {:error, _} = Pool.drain(pool, 0)
        kill(child)
        restarted(supervisor, [child])
        [next] = pids(supervisor)
        monitor = Process.monitor(next)
        assert_receive {:DOWN, ^monitor, :process, ^next, reason}
        assert reason in [:killed, :noproc]
        Supervisor.stop(supervisor)
      end)
    end

    test "beyond that fails, and the supervisor's intensity decides" do
      pool = Pool.new(limit: 1, max_overdraft: 0)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 3, max_seconds: 60)
      {:ok, child} = DynamicSupervisor.start_child(supervisor, spec(1, pool))
      {waiter, ref} = park(pool)
      # Suspended, so that the waiter has the permit before it restarts.
      :ok = :sys.suspend(supervisor)
      kill(child)
      assert answer(ref) == :ok

      capture_log(fn ->
        :ok = :sys.resume(supervisor)
        assert_receive {:EXIT, ^supervisor, :shutdown}
      end)

      # As often as it tries without Penstock.
      assert Pool.info(pool).rejected == 3
      kill(waiter)
      :ok = Pool.acquire(pool)
    end

    for strategy <- [:rest_for_one, :one_for_all] do
      test "of a whole group, #{strategy}, at a full pool" do
        pool = Pool.new(limit: 3)
        children = for n <- 1..3, do: spec(n, pool)
        {:ok, supervisor} = Supervisor.start_link(children, strategy: unquote(strategy), max_restarts: 100)
        waiters = for _ <- 1..3, do: park(pool)

        for _ <- 1..10 do
          old = pids(supervisor)
          [{3, _, _, _}, {2, _, _, _}, {1, first, _, _}] = Supervisor.which_children(supervisor)
          Process.exit(first, :kill)
          restarted(supervisor, old)
          info = Pool.info(pool)
          assert info.in_use <= 6
        end

        Enum.each(waiters, fn {pid, _} -> kill(pid) end)
        eventually(fn -> Pool.info(pool).in_use == 3 end)
        Supervisor.stop(supervisor)
        eventually(fn -> counts(pool) == {0, 0, 0} end)
      end
    end

    test "behind a closed gate, or one that is gone, runs unguarded and says so" do
      name = start_pool(limit: 1)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 10)
      {:ok, child} = DynamicSupervisor.start_child(supervisor, spec(1, name))

      log =
        capture_log(fn ->
          {:error, _} = Pool.drain(name, 0)
          kill(child)
          restarted(supervisor, [child])
        end)

      assert log =~ "the gate #{inspect(name)} is closed: "
      assert log =~ "starts a child unguarded, by Penstock.Process.GatedChildTest.Child.start_link/1"
      [child] = pids(supervisor)
      :ok = stop_supervised({Pool, name})

      log =
        capture_log(fn ->
          kill(child)
          restarted(supervisor, [child])
        end)

      assert log =~ "the gate #{inspect(name)} is not running any more: "
    end

    test "of a child that start_child/3 started asks the pool first, as any other" do
      name = unique_name()
      {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: name, limit: 3, max_restarts: 10)
      {:ok, child} = Penstock.DynamicSupervisor.start_child(name, spec_of(1))
      {:ok, other} = Penstock.DynamicSupervisor.start_child(name, spec_of(2))

      [partition] =
        Penstock.Supervision.Group.partitions(Penstock.Supervision.Partitions.fetch!(Penstock.DynamicSupervisor, name))

      partition = Process.whereis(partition)
      traced = [{Penstock.Native, :restart_take, 3}, {Penstock.Native, :run_take, 2}]
      for function <- traced, do: :erlang.trace_pattern(function, true, [:local])
      on_exit(fn -> for function <- traced, do: :erlang.trace_pattern(function, false, [:local]) end)
      :erlang.trace(partition, true, [:call])
      Process.exit(child, :kill)
      assert_receive {:trace, ^partition, :call, {Penstock.Native, :run_take, [^name, 1]}}
      eventually(fn -> DynamicSupervisor.count_children(partition).active == 2 end)
      :erlang.trace(partition, false, [:call])
      refute_received {:trace, ^partition, :call, {Penstock.Native, :restart_take, _}}
      assert Process.alive?(other)
      eventually(fn -> Pool.info(name).in_use == 2 end)
      Penstock.DynamicSupervisor.stop(name)
    end

    test "of a transient child that ended well is none, and a temporary one is let go" do
      pool = Pool.new(limit: 2)
      {:ok, supervisor} = DynamicSupervisor.start_link([])
      {:ok, transient} = DynamicSupervisor.start_child(supervisor, spec(1, pool, restart: :transient))
      {:ok, temporary} = DynamicSupervisor.start_child(supervisor, spec(1, pool, restart: :temporary))
      GenServer.stop(transient)
      kill(temporary)
      eventually(fn -> DynamicSupervisor.count_children(supervisor).active == 0 end)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end
  end

  describe "behind a name that was never started" do
    @misspelt MyApp.Misspelt

    test "a static child fails to start, and says so" do
      assert {:error, {:shutdown, {:failed_to_start_child, 1, {:EXIT, {%ArgumentError{message: message}, _stack}}}}} =
               Supervisor.start_link([spec(1, @misspelt)], strategy: :one_for_one)

      assert message =~ "named MyApp.Misspelt is running"
    end

    test "a child that is asked for fails to start, and says so" do
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

  test "a static child behind a gate that is gone by now runs unguarded, as its supervisor may be one that is restarted" do
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
    test "are let in on overdraft while their supervisor begins, up to its bound" do
      pool = Pool.new(limit: 1, max_overdraft: 1)
      {:ok, supervisor} = Supervisor.start_link([spec(1, pool), spec(2, pool)], strategy: :one_for_one)
      assert %{in_use: 2, overdraft: 1} = Pool.info(pool)
      children = [spec(3, pool)]

      assert {:error, {:shutdown, {:failed_to_start_child, 3, :full}}} =
               Supervisor.start_link(children, strategy: :one_for_one)

      Supervisor.stop(supervisor)
      eventually(fn -> counts(pool) == {0, 0, 0} end)
    end

    test "of a nested supervisor that its parent builds again keep their permits" do
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

  test "limits hold while all children of a full pool are killed at once, and many hammer it" do
    pool = Pool.new(limit: 100, max_waiting: 0)
    {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 100_000)
    for n <- 1..100, do: {:ok, _} = DynamicSupervisor.start_child(supervisor, spec(n, pool))

    hammers =
      for _ <- 1..20 do
        spawn_link(fn -> hammer(pool) end)
      end

    for _ <- 1..10 do
      Enum.each(pids(supervisor), &Process.exit(&1, :kill))
      eventually(fn -> DynamicSupervisor.count_children(supervisor).active == 100 end)
      eventually(fn -> Pool.info(pool).in_use <= 100 end)
    end

    Enum.each(hammers, &kill/1)
    info = Pool.info(pool)
    assert info.peak <= 200
    Supervisor.stop(supervisor)
    eventually(fn -> counts(pool) == {0, 0, 0} end)
  end

  defp hammer(pool) do
    _ = Penstock.spawn(pool, fn -> :erlang.yield() end)
    hammer(pool)
  end
end
