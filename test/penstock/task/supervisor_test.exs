defmodule Penstock.Task.SupervisorTest do
  # Most tests call a function of Penstock.Task.Supervisor and the same function of Elixir's
  # Task.Supervisor, and expect the same result. `ours` is a supervisor of Penstock, `theirs` one
  # of Elixir.
  use Penstock.PoolCase, async: true
  doctest Penstock.Task.Supervisor

  import ExUnit.CaptureLog
  alias Penstock.RejectedError
  alias Penstock.Task.Supervisor, as: Bounded

  setup do
    Process.flag(:trap_exit, true)
    name = unique_name()
    start_supervised!({Bounded, name: name, limit: 5})
    plain = :"#{name}.Plain"
    start_supervised!({Task.Supervisor, name: plain})
    %{ours: name, theirs: plain}
  end

  def never, do: receive(do: (:never -> :ok))

  def seen do
    %{
      callers: Process.get(:"$callers"),
      ancestors: Process.get(:"$ancestors"),
      initial_call: Process.get(:"$initial_call"),
      links: length(elem(Process.info(self(), :links), 1))
    }
  end

  # Removes the supervisors from the ancestors that a task saw, because only they can differ. A
  # task of Elixir has one supervisor above it. A task of Penstock has its partition, and the
  # front that has the name.
  defp plain(%{ancestors: [_supervisor | above]} = seen), do: %{seen | ancestors: above}

  defp plain(%{ancestors: [partition, name | above]} = seen, name) do
    assert partition in [:"#{name}.Partition1", Process.whereis(:"#{name}.Partition1")]
    %{seen | ancestors: above}
  end

  describe "a task" do
    test "sees what a task of Task.Supervisor sees", %{ours: ours, theirs: theirs} do
      Process.put(:"$callers", [:grandparent])

      for function <- [:async, :async_nolink], args <- [[&__MODULE__.seen/0], [__MODULE__, :seen, []]] do
        expected = Task.await(apply(Task.Supervisor, function, [theirs | args]))
        assert {:ok, task} = apply(Bounded, function, [ours | args])
        result = Task.await(task)
        assert plain(result, ours) == plain(expected)
        assert is_atom(hd(result.ancestors)) == is_atom(hd(expected.ancestors))
        assert task.mfa == apply(Task.Supervisor, function, [theirs | args]).mfa
        assert Task.await(apply(Bounded, :"#{function}!", [ours | args])) == result
      end

      me = self()

      for restart <- [:temporary, :transient, :permanent], args <- [[fn -> tell(me) end], [__MODULE__, :tell, [me]]] do
        {:ok, _} = apply(Task.Supervisor, :start_child, [theirs | args] ++ [[restart: restart]])
        assert_receive {:seen, expected}
        {:ok, pid} = apply(Bounded, :start_child, [ours | args] ++ [[restart: restart]])
        assert_receive {:seen, result}
        assert Map.delete(plain(result, ours), :initial_call) == Map.delete(plain(expected), :initial_call)
        assert pid in Bounded.children(ours)
        assert Bounded.terminate_child(ours, pid) == :ok
      end
    end

    def tell(to) do
      send(to, {:seen, seen()})
      never()
    end

    test "returns its permit before the caller gets the reply", %{ours: ours} do
      for _ <- 1..100 do
        {:ok, task} = Bounded.async(ours, fn -> :ok end, permits: 5)
        assert Task.await(task) == :ok
        assert Pool.info(ours).in_use == 0
      end
    end

    test "that fails ends a linked caller, and the report is that of Task.Supervisor", %{ours: ours, theirs: theirs} do
      for {function, linked?} <- [async: true, async_nolink: false] do
        log =
          capture_log(fn ->
            for {module, supervisor} <- [{Task.Supervisor, theirs}, {Bounded, ours}] do
              {pid, monitor} =
                spawn_monitor(fn ->
                  task = with {:ok, task} <- apply(module, function, [supervisor, fn -> exit(:oops) end]), do: task
                  assert {:exit, :oops} = Task.yield(task)
                end)

              assert_receive {:DOWN, ^monitor, :process, ^pid, reason}
              assert reason == if(linked?, do: :oops, else: :normal)
            end
          end)

        assert [_, theirs, ours] = String.split(log, ~r/Task #PID<[\d.]+> started from \S+ terminating/)
        for text <- [theirs, ours], do: assert(text =~ "** (stop) :oops")
        refute ours =~ "Penstock.Task.Runner.run/4\nFunction"
      end
    end

    test "of start_child/3 looks, fails and ends like a task of Elixir", %{ours: ours, theirs: theirs} do
      ways = [
        return: fn -> :ok end,
        raise: fn -> raise "oops" end,
        throw: fn -> throw(:oops) end,
        exit: fn -> exit(:oops) end,
        shutdown: fn -> exit({:shutdown, :oops}) end
      ]

      for {way, leave} <- ways do
        [expected, result] = for side <- [{Task.Supervisor, theirs}, {Bounded, ours}], do: life(side, leave)
        assert {way, result} == {way, expected}
      end

      assert Pool.acquire(ours, permits: 5) == :ok
    end

    # Starts a task and lets it end by `leave`. Returns how the supervisor lists the task, its
    # initial call, its callers, its exit reason, and how often the log names it.
    defp life({module, supervisor}, leave) do
      me = self()

      {{pid, seen}, log} =
        with_log(fn ->
          {:ok, pid} =
            module.start_child(supervisor, fn ->
              send(me, {:says, self(), Process.get(:"$initial_call"), Process.get(:"$callers")})
              receive do: (:go -> leave.())
            end)

          assert_receive {:says, ^pid, initial_call, callers}
          shown = for {_, ^pid, type, modules} <- DynamicSupervisor.which_children(supervisor), do: {type, modules}
          monitor = Process.monitor(pid)
          send(pid, :go)
          assert_receive {:DOWN, ^monitor, :process, ^pid, reason}
          {pid, {shown, initial_call, callers, without_stack(reason)}}
        end)

      # Other tests log at the same time, so only lines with this pid count.
      {seen, length(String.split(log, inspect(pid))) - 1}
    end

    defp without_stack({reason, [_ | _]}), do: {reason, :stack}
    defp without_stack(reason), do: reason

    test "is restarted as its :restart says, within the limit", %{ours: ours} do
      me = self()

      fun = fn ->
        send(me, {:runs, self()})
        receive do: (reason -> exit(reason))
      end

      capture_log(fn ->
        for {restart, reason, again?} <- [
              {:temporary, :boom, false},
              {:transient, :shutdown, false},
              {:transient, :boom, true},
              {:permanent, :normal, true}
            ] do
          {:ok, pid} = Bounded.start_child(ours, fun, restart: restart, permits: 5)
          assert_receive {:runs, ^pid}
          send(pid, reason)

          if again? do
            assert_receive {:runs, next}
            eventually(fn -> match?([%{pid: ^next, permits: 5}], Pool.holders(ours)) end)
            assert Bounded.start_child(ours, fun) == {:error, :full}
            assert Bounded.terminate_child(ours, next) == :ok
          end

          eventually(fn -> counts(ours) == {0, 0, 0} and Bounded.children(ours) == [] end)
        end
      end)
    end

    test "has the :shutdown that it is given", %{ours: ours} do
      stubborn = fn to ->
        fn ->
          Process.flag(:trap_exit, true)
          send(to, :ready)
          receive do: ({:EXIT, _, reason} -> exit({:told, reason}))
        end
      end

      for {shutdown, reason} <- [{:brutal_kill, :killed}, {1_000, {:told, :shutdown}}] do
        {:ok, %{pid: pid}} = Bounded.async_nolink(ours, stubborn.(self()), shutdown: shutdown)
        monitor = Process.monitor(pid)
        assert_receive :ready
        capture_log(fn -> assert Bounded.terminate_child(ours, pid) == :ok end)
        assert_receive {:DOWN, ^monitor, :process, ^pid, ^reason}
      end
    end

    test "waits for a permit, or is refused at once or after its :timeout", %{ours: ours} do
      {:ok, holder} = Bounded.start_child(ours, &never/0, permits: 5)
      assert Bounded.async(ours, fn -> 1 end, timeout: 0) == {:error, :full}
      assert Bounded.async_nolink(ours, fn -> 1 end, timeout: 10) == {:error, :timeout}

      for function <- [:async!, :async_nolink!] do
        error = assert_raise RejectedError, fn -> apply(Bounded, function, [ours, fn -> 1 end, [timeout: 0]]) end
        assert %{gate: ^ours, reason: :full} = error
      end

      waiting = Task.async(fn -> Task.await(Bounded.async!(ours, fn -> :served end)) end)
      await_waiting(ours, 1)
      kill(holder)
      assert Task.await(waiting) == :served
    end
  end

  describe "a stream" do
    test "and a task with :restart accept `shutdown: 0`, as Task.Supervisor does", %{ours: ours} do
      assert ours |> Bounded.async_stream(1..3, & &1, shutdown: 0) |> Enum.to_list() == [ok: 1, ok: 2, ok: 3]
      assert {:ok, pid} = Bounded.start_child(ours, &never/0, restart: :transient, shutdown: 0)
      assert Bounded.terminate_child(ours, pid) == :ok
    end

    test "starts its tasks under the supervisor, within the limit of its gate", %{ours: ours} do
      me = self()
      Process.put(:"$callers", [:grandparent])

      for function <- [:async_stream, :async_stream_nolink] do
        results =
          apply(Bounded, function, [
            ours,
            1..20,
            fn x ->
              send(me, {:in_use, Pool.info(ours).in_use, length(Bounded.children(ours))})
              {x, seen()}
            end,
            [max_concurrency: 20]
          ])
          |> Enum.to_list()

        assert for({:ok, {x, _}} <- results, do: x) == Enum.to_list(1..20)

        for {:ok, {_, seen}} <- results do
          assert hd(seen.ancestors) in [:"#{ours}.Partition1", Process.whereis(:"#{ours}.Partition1")]
          assert [^me, :grandparent] = seen.callers
          assert_received {:in_use, in_use, children}
          assert in_use <= 5 and children <= 6
        end

        eventually(fn -> counts(ours) == {0, 0, 0} and Bounded.children(ours) == [] end)
        refute_received _
      end
    end

    test "fails, times out and is halted like a stream of Task.Supervisor", %{ours: ours, theirs: theirs} do
      fails = fn
        2 -> exit(:oops)
        3 -> never()
        x -> x
      end

      for function <- [:async_stream_nolink, :async_stream],
          opts <- [
            # The timeout is long, because a busy machine may stop the other tasks for 100 ms.
            [on_timeout: :kill_task, timeout: 1_000],
            [on_timeout: :kill_task, timeout: 1_000, zip_input_on_exit: true]
          ] do
        capture_log(fn ->
          expected = apply(Task.Supervisor, function, [theirs, 1..4, fails, opts]) |> Enum.to_list()
          assert apply(Bounded, function, [ours, 1..4, fails, opts]) |> Enum.to_list() == expected
        end)

        assert apply(Bounded, function, [ours, Stream.cycle([1]), fails, []]) |> Enum.take(3) == [ok: 1, ok: 1, ok: 1]
        eventually(fn -> counts(ours) == {0, 0, 0} and Bounded.children(ours) == [] end)
      end

      # This consumer does not trap exits. So a failing task ends it if both are linked, as with
      # `async_stream`, but not with `async_stream_nolink`.
      for {function, how} <- [async_stream: :oops, async_stream_nolink: {:results, [ok: 1, exit: :oops, ok: 4]}] do
        capture_log(fn ->
          {pid, monitor} =
            spawn_monitor(fn ->
              exit({:results, Enum.to_list(apply(Bounded, function, [ours, [1, 2, 4], fails, []]))})
            end)

          assert_receive {:DOWN, ^monitor, :process, ^pid, ^how}
        end)
      end
    end

    test "whose consumer is killed leaves no task", %{ours: ours} do
      for function <- [:async_stream, :async_stream_nolink] do
        consumer =
          spawn(fn ->
            apply(Bounded, function, [ours, 1..5, fn _ -> never() end, [max_concurrency: 5]]) |> Stream.run()
          end)

        eventually(fn -> Pool.info(ours).in_use == 5 end)
        kill(consumer)
        eventually(fn -> counts(ours) == {0, 0, 0} and Bounded.children(ours) == [] end)
      end
    end

    test "ends its consumer when the supervisor is stopped", %{ours: ours} do
      {consumer, monitor} =
        spawn_monitor(fn ->
          ours |> Bounded.async_stream(1..5, fn _ -> never() end, max_concurrency: 5) |> Stream.run()
        end)

      eventually(fn -> Pool.info(ours).in_use == 5 end)
      :ok = stop_supervised({Bounded, ours})
      assert_receive {:DOWN, ^monitor, :process, ^consumer, reason}
      assert reason in [:shutdown, :killed] or match?({:shutdown, _}, reason)
    end

    test "raises for bad input when it is made, and pulls no element", %{ours: ours} do
      untouched = Stream.map([1], fn _ -> flunk("pulled") end)

      for {args, message} <- [
            {[&never/0], "expected fun to be a function of arity 1"},
            {[& &1, [max_concurrency: 0]], "expected :max_concurrency"},
            {[& &1, [key: nil]], "expected :key to be a term other than nil"},
            {[& &1, [key: String.duplicate("x", 2_000)]], "expected key to be of at most 1024 bytes"},
            {[& &1, [cost: 0]], "expected :cost to be"},
            {[& &1, [shutdown: -1]],
             "expected :shutdown to be a number of milliseconds, :infinity or :brutal_kill, got: -1"},
            {[& &1, [colour: 1]], "unknown option :colour. Known: :shutdown, :partition_key"},
            {[Enum, :sum, 1], "expected args to be a list"}
          ],
          function <- [:async_stream, :async_stream_nolink] do
        error = assert_raise ArgumentError, fn -> apply(Bounded, function, [ours, untouched | args]) end
        assert Exception.message(error) =~ message
      end

      for opts <- [[restart: :sometimes], [shutdown: :soon]] do
        assert_raise ArgumentError, fn -> Bounded.start_child(ours, fn -> 1 end, opts) end
      end

      assert_raise ArgumentError, fn -> Bounded.async(ours, fn -> 1 end, restart: :transient) end
      assert Pool.info(ours).acquired == 0
    end
  end
end
