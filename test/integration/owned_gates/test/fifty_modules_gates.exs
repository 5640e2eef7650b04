# Fifty modules that run at the same time and fill the gates of one name, each up to a limit of its
# own. LastModule, which runs after them, finds that the application's gates were never asked.
for module <- 1..50 do
  defmodule Module.concat(MyApp, "Fifty#{module}") do
    use ExUnit.Case, async: true

    alias Penstock.{Ban, KeyedPool, Pool, RateLimiter}
    alias Penstock.Test, as: Kit

    @limit rem(module, 7) + 1

    setup do
      Kit.own(MyApp.Jobs, limit: @limit)
      :ok
    end

    # Takes permits in each way until the gate is full, and one more.
    defp fill(processes) do
      for _ <- 1..@limit//1, do: assert({:ok, _pid} = Penstock.spawn(MyApp.Jobs, fn -> Process.sleep(:infinity) end))

      for ask <- processes,
          do: assert(ask.(fn -> Penstock.run(MyApp.Jobs, fn -> :in end, timeout: 0) end) == {:error, :full})

      assert %{name: MyApp.Jobs, limit: @limit, in_use: @limit, peak: @limit} = Pool.info(MyApp.Jobs)
      assert Pool.info(MyApp.Jobs).rejected == length(processes)
    end

    test "the test itself and its tasks meet their own gate alone" do
      fill([
        & &1.(),
        &Task.await(Task.async(&1)),
        &Task.await(Task.Supervisor.async(MyApp.PlainTasks, &1)),
        &Task.await(Task.async(fn -> Task.await(Task.Supervisor.async(MyApp.PlainTasks, &1)) end))
      ])
    end

    test "processes without callers meet it by their ancestors and parents" do
      test = self()
      agent = start_supervised!({Agent, fn -> nil end})

      fill([
        fn ask -> Agent.get(agent, fn _ -> ask.() end) end,
        fn ask ->
          # A process without `$callers` and `$ancestors` is known by those that created it, as long as
          # they live.
          spawn(fn ->
            spawn(fn -> send(test, {:answer, ask.()}) end)
            Process.sleep(:infinity)
          end)

          assert_receive {:answer, answer}
          answer
        end
      ])
    end

    test "a server of the application meets it once it is allowed to" do
      {:ok, stranger} = GenServer.start(MyApp.Worker, [])
      own = start_supervised!({MyApp.Worker, []})
      # Its parent is the test, as of all that it starts, so a stranger must come from elsewhere.
      {:ok, other} = DynamicSupervisor.start_child(start_elsewhere(), {MyApp.Worker, []})

      assert MyApp.Worker.limit(own, MyApp.Jobs) == @limit
      assert MyApp.Worker.limit(stranger, MyApp.Jobs) == @limit
      assert MyApp.Worker.limit(other, MyApp.Jobs) == 100
      Kit.allow(MyApp.Jobs, other)
      assert MyApp.Worker.limit(other, MyApp.Jobs) == @limit
    end

    # A supervisor whose ancestors are not this test.
    defp start_elsewhere do
      spec = Supervisor.child_spec(DynamicSupervisor, id: make_ref(), restart: :temporary)
      {:ok, pid} = Supervisor.start_child(MyApp.Supervisor, spec)
      on_exit(fn -> DynamicSupervisor.stop(pid) end)
      pid
    end

    test "limiters, bans and keyed pools are the test's own too" do
      Kit.own(MyApp.Api, limit: @limit, clock: :manual)
      Kit.own(MyApp.LoginBans, failures: @limit, clock: :manual)
      Kit.own(MyApp.Uploads, limit: @limit)

      for left <- (@limit - 1)..0//-1, do: assert(RateLimiter.hit(MyApp.Api) == {:allow, left})
      assert {:deny, ms} = RateLimiter.hit(MyApp.Api)
      for _ <- 2..@limit//1, do: assert({:ok, _left} = Ban.record_failure(MyApp.LoginBans, "mallory"))
      assert Ban.record_failure(MyApp.LoginBans, "mallory") == {:banned, 1_000}
      for _ <- 1..@limit, do: assert(KeyedPool.try_acquire(MyApp.Uploads, "alice") == :ok)
      assert KeyedPool.try_acquire(MyApp.Uploads, "alice") == {:error, :key_full}

      Kit.advance(999)
      assert Ban.check(MyApp.LoginBans, "mallory") == {:banned, 1}
      Kit.advance(max(ms - 999, 1))
      assert RateLimiter.hit(MyApp.Api) == {:allow, 0}
      assert Ban.check(MyApp.LoginBans, "mallory") == :ok
    end
  end
end
