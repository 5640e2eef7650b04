defmodule MyApp.OwnTest do
  # What own/2, allow/2 and advance/1 do, and when an ownership ends.
  use ExUnit.Case, async: true

  alias Penstock.{Ban, Gate, KeyedPool, Pool, RateLimiter}
  alias Penstock.Test, as: Kit
  alias Penstock.Test.Ownership.{Lookup, Server}

  # Calls `fun` in a process that no test has started.
  defp from_elsewhere(fun) do
    test = self()
    Agent.update(MyApp.Elsewhere, fn _ -> send(test, {:answer, fun.()}) end, :infinity)
    assert_receive {:answer, answer}
    answer
  end

  # Starts a worker that no test has started.
  defp start_stranger(opts \\ []) do
    {:ok, pid} =
      DynamicSupervisor.start_child(MyApp.Children, Supervisor.child_spec({MyApp.Worker, opts}, restart: :temporary))

    on_exit(fn -> DynamicSupervisor.terminate_child(MyApp.Children, pid) end)
    pid
  end

  # The server has ended the ownership of a dead process, or the right of one, when it answers.
  defp await_death(pid) do
    monitor = Process.monitor(pid)
    assert_receive {:DOWN, ^monitor, _, _, _}
    :sys.get_state(Server)
  end

  describe "the checks of gates after a function" do
    setup do
      Kit.own(MyApp.Jobs, limit: 5)
      # The same name, of another process.
      test = self()

      other =
        spawn(fn ->
          Kit.own(MyApp.Jobs, limit: 6)
          :ok = Pool.acquire(MyApp.Jobs)
          send(test, :owned)
          receive(do: (:stop -> :ok))
        end)

      on_exit(fn -> Process.exit(other, :kill) end)
      assert_receive :owned
      :ok
    end

    # A task knows its callers, also when the process that started it is killed.
    test "kill_storm/2 compares the own gate" do
      orphan = fn ->
        Task.start(fn -> Pool.acquire(MyApp.Jobs) && receive(do: (:never -> :ok)) end)
        receive(after: (20 -> :ok))
      end

      opts = [rounds: 200, within: 50]

      for opts <- [opts, [gates: [MyApp.Jobs]] ++ opts] do
        error =
          assert_raise ExUnit.AssertionError, fn ->
            ExUnit.CaptureIO.capture_io(fn -> Kit.kill_storm(orphan, opts) end)
          end

        assert error.message =~ ~r/\* MyApp.Jobs has \d permits in use \(0 before\)/
      end
    end

    test "refute_leak/2 tells a permit of the own gate once" do
      error =
        assert_raise ExUnit.AssertionError, fn ->
          Kit.refute_leak(fn -> Pool.acquire(MyApp.Jobs) end)
        end

      assert [_before, _after] = String.split(error.message, "1 permit of MyApp.Jobs, held by")
    end
  end

  describe "own/2" do
    test "copies the options of the application's gate" do
      Kit.own(MyApp.Jobs)
      assert %{limit: 100, max_waiting: 7, name: MyApp.Jobs} = Pool.info(MyApp.Jobs)
      Kit.own(MyApp.Jobs, max_waiting: 2)
      assert %{limit: 100, max_waiting: 2} = Pool.info(MyApp.Jobs)
      Kit.own(MyApp.Mails)
      assert %{limit: 1_000, per: 60_000, burst: 20, max_keys: 1_000} = RateLimiter.info(MyApp.Mails)
      # The burst of MyApp.Api follows its limit, that of MyApp.Mails does not.
      Kit.own(MyApp.Mails, limit: 100)
      Kit.own(MyApp.Api, limit: 100)
      assert %{limit: 100, burst: 20} = RateLimiter.info(MyApp.Mails)
      assert %{limit: 100, burst: 100} = RateLimiter.info(MyApp.Api)
      Kit.own(MyApp.Uploads)
      assert %{limit: 40, max_keys: 1_000} = KeyedPool.info(MyApp.Uploads)
      Kit.own(MyApp.Uploads, max_keys: 2_000)
      assert KeyedPool.info(MyApp.Uploads).max_keys >= 2_000
      Kit.own(MyApp.LoginBans)
      assert %{failures: 30, ban_for: 1_000, max_ban: 86_400_000} = Ban.info(MyApp.LoginBans)
      Kit.own(MyApp.LoginBans, ban_for: 90_000_000)

      assert %{failures: 30, ban_for: 90_000_000, max_ban: 90_000_000, forget_after: 90_000_000} =
               Ban.info(MyApp.LoginBans)

      Kit.own(MyApp.LoginBans, max_ban: 5_000)
      assert %{ban_for: 1_000, max_ban: 5_000, forget_after: 5_000} = Ban.info(MyApp.LoginBans)
      Kit.own(MyApp.Checkout, shed_at: :high)
      assert Gate.info(MyApp.Checkout).shed_at == :high
    end

    test "a gate of another kind, and one that is not running" do
      Kit.own(MyApp.Jobs, kind: :rate_limiter, limit: 1, per: 1_000, clock: :manual)
      assert {:ok, :in} = Penstock.run(MyApp.Jobs, fn -> :in end)
      assert {:error, {:rate_limited, 1_000}} = Penstock.run(MyApp.Jobs, fn -> :never end)
      Kit.own(MyApp.NotThere, kind: :pool, limit: 1)
      assert Pool.info(MyApp.NotThere).limit == 1
      from_elsewhere(fn -> assert_raise ArgumentError, fn -> Pool.info(MyApp.NotThere) end end)
    end

    test "again: a new gate in place of the last one, which closes" do
      own = Kit.own(MyApp.Jobs, limit: 1)
      {:ok, _pid} = Penstock.spawn(MyApp.Jobs, fn -> Process.sleep(:infinity) end)
      waiter = Task.async(fn -> Penstock.run(MyApp.Jobs, fn -> :never end) end)
      await_waiter(own)
      assert Kit.own(MyApp.Jobs, limit: 2) == own
      assert Task.await(waiter) == {:error, :closed}
      assert %{limit: 2, in_use: 0, acquired: 0} = Pool.info(MyApp.Jobs)
    end

    defp await_waiter(own), do: if(Pool.info(own).waiting == 0, do: receive(after: (1 -> await_waiter(own))))

    test "wrong arguments" do
      assert_raise ArgumentError, ~r/no gate named MyApp.Nothing is running.*kind: :pool/s, fn ->
        Kit.own(MyApp.Nothing)
      end

      assert_raise ArgumentError, ~r/expected :kind to be .*, got: :queue/, fn -> Kit.own(MyApp.Jobs, kind: :queue) end
      assert_raise ArgumentError, ~r/expected opts to be a keyword list, got: 1/, fn -> Kit.own(MyApp.Jobs, 1) end
      assert_raise ArgumentError, ~r/expected :name to be an atom/, fn -> Kit.own("MyApp.Jobs") end
      assert_raise ArgumentError, ~r/:limit/, fn -> Kit.own(MyApp.Jobs, limit: -1) end
      assert_raise ArgumentError, ~r/:burst/, fn -> Kit.own(MyApp.Jobs, burst: 1) end
      assert_raise ArgumentError, ~r/missing|:limit/, fn -> Kit.own(MyApp.NotThere, kind: :pool) end
      assert_raise ArgumentError, ~r/:limits/, fn -> Kit.own(MyApp.Checkout, limits: []) end

      assert_raise ArgumentError, ~r/no gate named MyApp.Nothing/, fn ->
        Kit.own(MyApp.Checkout, limits: [MyApp.Nothing])
      end

      # None of these has made an own gate.
      assert Pool.info(MyApp.Jobs).limit == 100
    end

    test "a failed start in place of an own gate leaves no gate" do
      Kit.own(MyApp.Jobs, limit: 1)
      assert_raise ArgumentError, ~r/:limit/, fn -> Kit.own(MyApp.Jobs, limit: -1) end
      assert_raise ArgumentError, fn -> Pool.try_acquire(MyApp.Jobs) end
      Kit.own(MyApp.Jobs, limit: 1)
      assert Pool.try_acquire(MyApp.Jobs) == :ok
    end

    test "a gate whose owner process is killed goes on with its permits" do
      Kit.own(MyApp.Jobs, limit: 1)
      :ok = Pool.try_acquire(MyApp.Jobs)
      %{owner: owner} = Pool.info(MyApp.Jobs)
      Process.exit(owner, :kill)
      await_death(owner)
      assert %{in_use: 1, owner: next} = Pool.info(MyApp.Jobs)
      assert next != owner and Process.alive?(next)
    end
  end

  describe "an ownership" do
    test "ends when the owner ends, by any exit" do
      for reason <- [:normal, :kill, :crash] do
        test = self()

        {owner, monitor} =
          spawn_monitor(fn ->
            send(test, {:own, Kit.own(MyApp.Jobs, limit: 1)})
            receive do: (:go -> :ok)
          end)

        assert_receive {:own, own}
        assert Lookup.get({MyApp.Jobs, owner}) == own
        if reason == :normal, do: send(owner, :go), else: Process.exit(owner, reason)
        assert_receive {:DOWN, ^monitor, _, _, _}
        :sys.get_state(Server)
        assert Lookup.get({MyApp.Jobs, owner}) == nil
        assert Lookup.get({:own, own}) == nil
        assert_raise ArgumentError, fn -> Pool.info(own) end
      end
    end

    # MyApp.AfterOwnTest reads what the server has told.
    test "lasts until ExUnit has ended the processes of the test" do
      Kit.own(MyApp.Shared, limit: 3)
      start_supervised!({MyApp.AsksAtItsEnd, MyApp.Shared})
    end

    test "of another process is not seen by a process that it did not cause" do
      Kit.own(MyApp.Shared, limit: 1)
      assert Pool.info(MyApp.Shared).limit == 1
      assert from_elsewhere(fn -> Pool.info(MyApp.Shared).limit end) == 50
      assert MyApp.Worker.limit(MyApp.Worker, MyApp.Shared) == 50
    end

    test "is that of the nearest process of the chain" do
      Kit.own(MyApp.Jobs, limit: 1)

      Task.await(
        Task.async(fn ->
          assert Pool.info(MyApp.Jobs).limit == 1
          Kit.own(MyApp.Jobs, limit: 2)
          assert Pool.info(MyApp.Jobs).limit == 2
          assert Task.await(Task.async(fn -> Pool.info(MyApp.Jobs).limit end)) == 2
        end)
      )

      assert Pool.info(MyApp.Jobs).limit == 1
    end

    test "does not outlive the server" do
      # Another VM would be needed to kill the server here: all tests would lose their gates.
      assert :ets.info(Lookup, :owner) == Process.whereis(Server)
    end
  end

  describe "allow/2" do
    setup do
      Kit.own(MyApp.Jobs, limit: 1)
      :ok
    end

    test "a pid, and what it causes" do
      worker = start_stranger()
      assert MyApp.Worker.limit(worker, MyApp.Jobs) == 100
      assert Kit.allow(MyApp.Jobs, worker) == :ok
      assert Kit.allow(MyApp.Jobs, worker) == :ok
      assert MyApp.Worker.limit(worker, MyApp.Jobs) == 1
      DynamicSupervisor.terminate_child(MyApp.Children, worker)
      await_death(worker)
      assert Lookup.get({MyApp.Jobs, worker}) == nil
    end

    # A server of the application had one more monitor for each test before, for the rest of its life.
    test "of one process, by test after test, monitors it once" do
      worker = start_stranger()

      for name <- [MyApp.Jobs, MyApp.Shared, MyApp.Jobs] do
        owner = Task.async(fn -> Kit.own(name, limit: 1) && Kit.allow(name, worker) && self() end)
        await_death(Task.await(owner))
      end

      {:monitors, monitors} = Process.info(Process.whereis(Server), :monitors)
      assert Enum.count(monitors, &(&1 == {:process, worker})) == 1

      Kit.allow(MyApp.Jobs, worker)
      Kit.own(MyApp.Shared, limit: 1)
      Kit.allow(MyApp.Shared, worker)
      DynamicSupervisor.terminate_child(MyApp.Children, worker)
      await_death(worker)
      for name <- [MyApp.Jobs, MyApp.Shared], do: assert(Lookup.get({name, worker}) == nil)
      refute is_map_key(:sys.get_state(Server).allows, worker)
    end

    test "a name, whose process comes later and again" do
      assert Kit.allow(MyApp.Jobs, MyApp.LaterWorker) == :ok
      assert Kit.allow(MyApp.Jobs, MyApp.LaterWorker) == :ok

      for _ <- 1..2 do
        worker = start_stranger(name: MyApp.LaterWorker)
        assert MyApp.Worker.limit(MyApp.LaterWorker, MyApp.Jobs) == 1
        DynamicSupervisor.terminate_child(MyApp.Children, worker)
      end
    end

    test "a global name" do
      name = {:global, {__MODULE__, self()}}
      Kit.allow(MyApp.Jobs, name)
      start_stranger(name: name)
      assert MyApp.Worker.limit(name, MyApp.Jobs) == 1
    end

    test "a function, which may ask the gate itself" do
      {:ok, found} = Agent.start_link(fn -> nil end)

      Kit.allow(MyApp.Jobs, fn ->
        _application = Pool.info(MyApp.Jobs)
        Agent.get(found, & &1)
      end)

      worker = start_stranger()
      assert MyApp.Worker.limit(worker, MyApp.Jobs) == 100
      Agent.update(found, fn _ -> worker end)
      assert MyApp.Worker.limit(worker, MyApp.Jobs) == 1
    end

    test "a function that fails tells nothing, in a process of any test" do
      Kit.allow(MyApp.Jobs, fn -> raise "no process" end)
      Kit.allow(MyApp.Jobs, fn -> exit(:no_process) end)
      Kit.allow(MyApp.Jobs, fn -> throw(:no_process) end)
      Kit.allow(MyApp.Jobs, fn -> {:no, "process"} end)
      assert MyApp.Worker.limit(start_stranger(), MyApp.Jobs) == 100
      worker = start_stranger()
      Kit.allow(MyApp.Jobs, fn -> worker end)
      assert MyApp.Worker.limit(worker, MyApp.Jobs) == 1
    end

    test "a process of another test" do
      worker = start_stranger()
      Kit.allow(MyApp.Jobs, worker)
      Kit.allow(MyApp.Jobs, MyApp.Contended)

      Task.await(
        Task.async(fn ->
          Kit.own(MyApp.Jobs, limit: 2)
          assert_raise ArgumentError, ~r/uses the MyApp.Jobs of/, fn -> Kit.allow(MyApp.Jobs, worker) end

          assert_raise ArgumentError, ~r/MyApp.Contended uses the MyApp.Jobs of/, fn ->
            Kit.allow(MyApp.Jobs, MyApp.Contended)
          end
        end)
      )

      assert MyApp.Worker.limit(worker, MyApp.Jobs) == 1
    end

    test "wrong arguments" do
      for wrong <- [nil, "pid", fn _ -> self() end, make_ref()] do
        assert_raise ArgumentError, ~r/expected the process to allow to be a pid/, fn ->
          Kit.allow(MyApp.Jobs, wrong)
        end
      end

      assert_raise ArgumentError, ~r/no MyApp.Shared of its own.*Penstock.Test.own\(MyApp.Shared\) first/s, fn ->
        Kit.allow(MyApp.Shared, self())
      end
    end

    test "ends with the owner" do
      worker = start_stranger()

      owner =
        Task.await(
          Task.async(fn ->
            Kit.own(MyApp.Shared, limit: 1)
            Kit.allow(MyApp.Shared, worker)
            Kit.allow(MyApp.Shared, MyApp.Nobody)
            assert MyApp.Worker.limit(worker, MyApp.Shared) == 1
            self()
          end)
        )

      await_death(owner)
      assert MyApp.Worker.limit(worker, MyApp.Shared) == 50
    end
  end

  describe "advance/1" do
    test "advances each manual clock of the test, and no other" do
      Kit.own(MyApp.Api, limit: 1, clock: :manual)
      Kit.own(MyApp.Mails, limit: 1, per: 1_000, burst: 1)
      Kit.own(MyApp.LoginBans, failures: 1, clock: :manual)
      assert RateLimiter.hit(MyApp.Api) == {:allow, 0}
      assert RateLimiter.hit(MyApp.Api) == {:deny, 60_000}
      assert Ban.record_failure(MyApp.LoginBans, "mallory") == {:banned, 1_000}
      assert Kit.advance(400) == :ok
      assert RateLimiter.peek(MyApp.Api) == {:deny, 59_600}
      assert Ban.check(MyApp.LoginBans, "mallory") == {:banned, 600}
      assert Task.await(Task.async(fn -> Kit.advance(600) end)) == :ok
      assert Ban.check(MyApp.LoginBans, "mallory") == :ok
      assert Ban.record_failure(MyApp.LoginBans, "mallory") == {:banned, 2_000}
      assert Kit.advance(0) == :ok
      assert RateLimiter.peek(MyApp.Api) == {:deny, 59_000}
    end

    test "wrong arguments" do
      assert_raise ArgumentError, ~r/no clock to advance.*clock: :manual/, fn -> Kit.advance(1) end
      Kit.own(MyApp.Api, clock: :manual)
      assert_raise ArgumentError, ~r/expected ms/, fn -> Kit.advance(-1) end
    end
  end

  test "the names of own gates do not grow in a loop" do
    own = Kit.own(MyApp.Jobs, limit: 1)
    for limit <- 2..20, do: assert(Kit.own(MyApp.Jobs, limit: limit) == own)
    assert Pool.info(MyApp.Jobs).limit == 20
  end

  test "a long name" do
    name = String.to_atom(String.duplicate("ü", 255))
    Kit.own(name, kind: :pool, limit: 1)
    assert %{name: ^name, limit: 1} = Pool.info(name)
  end
end

defmodule MyApp.AfterOwnTest do
  # Runs after the modules with `async: true`.
  use ExUnit.Case, async: false

  test "a server that ended after the process of its test found the test's gate" do
    assert Agent.get(MyApp.Reports, & &1) == [3]
  end
end
