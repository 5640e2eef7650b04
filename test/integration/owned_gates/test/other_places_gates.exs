defmodule MyApp.OtherPlacesTest do
  # The own gate is asked where a gate is not the first argument of a function.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Penstock.Admission.Request
  alias Penstock.Edge.Query
  alias Penstock.{Gate, Pool, RateLimiter}
  alias Penstock.Plug.Quota
  alias Penstock.Test, as: Kit

  defmodule NoPlug do
    def init(opts), do: opts
    def call(conn, _opts), do: Map.put(conn, :in_use, Pool.info(MyApp.Jobs).in_use)
  end

  defmodule NoSocket do
    def connect(info), do: {:ok, info}
    def init(state), do: {:ok, state}
  end

  defmodule GuardedSocket do
    use Penstock.Socket, socket: MyApp.OtherPlacesTest.NoSocket, gate: MyApp.Jobs, key: :none
  end

  defmodule Listener do
    use Penstock.Listener, gate: MyApp.Jobs, key: :none
  end

  @conn %{remote_ip: {127, 0, 0, 1}, private: %{}, resp_headers: []}

  setup do
    {:ok, own: Kit.own(MyApp.Jobs, limit: 1)}
  end

  test "the functions of Penstock.Test ask the own gate" do
    assert Kit.fill(MyApp.Jobs, [], fn -> Pool.try_acquire(MyApp.Jobs) end) == {:error, :full}
    assert %{ok: 3, peak: 1} = Kit.flood(3, fn -> :ok end, gate: MyApp.Jobs, timeout: 5_000)
  end

  test "child_spec/3: the supervisor of the child decides" do
    {:ok, mine} = start_supervised(DynamicSupervisor)
    spec = Penstock.child_spec(reporting(self()), MyApp.Jobs)
    {:ok, agent} = DynamicSupervisor.start_child(mine, spec)
    assert_receive {:started, ^agent}
    assert DynamicSupervisor.start_child(mine, spec) == {:error, :full}
    Process.exit(agent, :kill)
    assert_receive {:started, restarted}
    assert_holder(MyApp.Jobs, restarted)

    # The same spec under a supervisor of the application asks the application's gate.
    {:ok, agent} = DynamicSupervisor.start_child(MyApp.Children, Penstock.child_spec(reporting(self()), MyApp.Shared))
    assert agent in for(%{pid: pid} <- Pool.holders(MyApp.Shared), do: pid)
    Agent.stop(agent)
  end

  test "child_spec/3 of a gate that only the test has, with a key" do
    Kit.own(MyApp.Ghosts, kind: :keyed_pool, limit: 1)

    assert_raise ArgumentError, ~r/requires the option :key/, fn ->
      Penstock.child_spec({Agent, fn -> 1 end}, MyApp.Ghosts)
    end

    spec = Penstock.child_spec({Agent, fn -> 1 end}, MyApp.Ghosts, key: "alice")
    {:ok, mine} = start_supervised(DynamicSupervisor)
    assert {:ok, _agent} = DynamicSupervisor.start_child(mine, spec)
    assert DynamicSupervisor.start_child(mine, spec) == {:error, :key_full}
  end

  test "child_spec/3 under a supervisor that has arguments of its own" do
    {:ok, mine} = start_supervised({DynamicSupervisor, extra_arguments: [fn -> 1 end]})
    spec = Penstock.child_spec(%{id: Agent, start: {Agent, :start_link, []}}, MyApp.Jobs)
    assert {:ok, _agent} = DynamicSupervisor.start_child(mine, spec)
    assert DynamicSupervisor.start_child(mine, spec) == {:error, :full}
  end

  test "a child that the test starts under a supervisor of the application restarts with the test's permit" do
    Kit.own(MyApp.Sessions, limit: 1)
    {:ok, agent} = Penstock.DynamicSupervisor.start_child(MyApp.Sessions, reporting(self()))
    assert_receive {:started, ^agent}
    Process.exit(agent, :kill)
    assert_receive {:started, restarted}
    assert_holder(MyApp.Sessions, restarted)
    assert %{in_use: 1, limit: 1} = Pool.info(MyApp.Sessions)
    Agent.stop(restarted)
  end

  # A child that tells of each start.
  defp reporting(test) do
    %{id: Agent, start: {Agent, :start_link, [fn -> send(test, {:started, self()}) end]}, restart: :transient}
  end

  # The supervisor hands the permit to the child after the child has started.
  defp assert_holder(pool, pid) do
    case Pool.holders(pool) do
      [%{pid: ^pid}] -> :ok
      _not_yet -> receive(after: (1 -> assert_holder(pool, pid)))
    end
  end

  test "the gate of a supervisor that the test starts" do
    {:ok, _} = start_supervised({Penstock.DynamicSupervisor, name: MyApp.TestSessions, gate: MyApp.Jobs})
    spec = %{id: Agent, start: {Agent, :start_link, [fn -> 1 end]}}
    assert {:ok, _agent} = Penstock.DynamicSupervisor.start_child(MyApp.TestSessions, spec)
    assert %{in_use: 1} = Pool.info(MyApp.Jobs)
    # The supervisor has the test's gate for all callers, also for one that is no test.
    from_elsewhere(fn -> assert Penstock.DynamicSupervisor.start_child(MyApp.TestSessions, spec) == {:error, :full} end)
  end

  # Calls `fun` in a process that no test has started.
  defp from_elsewhere(fun) do
    test = self()
    Agent.update(MyApp.Elsewhere, fn _ -> send(test, {:answer, fun.()}) end, :infinity)
    assert_receive {:answer, answer}
    answer
  end

  test "a drainer of a pool that only the test has" do
    Kit.own(MyApp.Ghosts, kind: :pool, limit: 1)
    start_supervised!({Penstock.Drainer, pools: [MyApp.Ghosts], shutdown: 100})
    stop_supervised!({Penstock.Drainer, [MyApp.Ghosts]})
    assert Pool.try_acquire(MyApp.Ghosts) == {:error, :closed}
  end

  test "a drainer drains the test's pool" do
    start_supervised!({Penstock.Drainer, pools: [MyApp.Jobs], shutdown: 100})
    stop_supervised!({Penstock.Drainer, [MyApp.Jobs]})
    assert Pool.try_acquire(MyApp.Jobs) == {:error, :closed}
  end

  test "a plug, at compile time initialised, and its header fields" do
    opts = Penstock.Plug.init(gate: MyApp.Jobs, key: :none, headers: false, to: NoPlug)
    assert %{in_use: 1} = Penstock.Plug.call(@conn, opts)

    Kit.own(MyApp.Api, limit: 3, clock: :manual)
    assert [{_own, 3, 0, 3, 60_000} = quota] = Quota.all(MyApp.Api, %Request{})
    assert Quota.exhausted([put_elem(quota, 2, 1)]) == ["MyApp.Api"]
    opts = Penstock.Plug.Limit.init(gate: MyApp.Api, headers: false)
    assert Penstock.Plug.Limit.call(@conn, opts) == @conn
    assert %{allowed: 1} = RateLimiter.info(MyApp.Api)
  end

  test "a plug looks at the kinds of the own gate" do
    Kit.own(MyApp.PlugGhost, kind: :pool, limit: 1)
    assert_raise ArgumentError, ~r/is or has a pool/, fn -> Penstock.Plug.Limit.init(gate: MyApp.PlugGhost) end
    log = capture_log(fn -> Penstock.Plug.init(gate: MyApp.PlugGhost, to: NoPlug) end)
    assert log =~ "MyApp.PlugGhost is around whole requests, and none of its limits goes by a key"
  end

  test "the limits of the own gate whose keys a socket does not have" do
    Kit.own(MyApp.Uploads)
    Kit.own(MyApp.Ghosts, kind: :gate, limits: [MyApp.LoginBans, MyApp.Uploads, MyApp.Jobs])
    query = Query.read!([gate: MyApp.Ghosts, keys: %{MyApp.Uploads => & &1}], :address, "an info", "")
    assert Query.limits_without_key(query) == [MyApp.LoginBans]
  end

  test "a socket" do
    assert {:ok, state} = GuardedSocket.connect(%{transport: :longpoll})
    assert %{in_use: 1} = Pool.info(MyApp.Jobs)

    assert GuardedSocket.connect(%{transport: :longpoll}) == {:error, :full}

    assert {:ok, _state} = GuardedSocket.init(state)
  end

  test "a listener" do
    {:ok, listening} = :gen_tcp.listen(0, active: false)
    {:ok, port} = :inet.port(listening)
    {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, active: false)
    config = Penstock.Listener.config(Listener)
    assert {:ok, _socket, permits} = Penstock.Listener.Accept.accept(config, listening, 5_000, :run)
    assert %{in_use: 1} = Pool.info(MyApp.Jobs)
    {:ok, refused} = :gen_tcp.connect({127, 0, 0, 1}, port, active: false)
    assert Penstock.Listener.Accept.accept(config, listening, 50, :run) == {:error, :timeout}
    assert :gen_tcp.recv(refused, 0, 5_000) == {:error, :closed}
    Penstock.Edge.Ask.give_back(permits)
    for socket <- [client, listening, refused], do: :gen_tcp.close(socket)
  end

  test "a gate of several limits, its keys and its names" do
    own = Kit.own(MyApp.Checkout)
    assert own != MyApp.Checkout
    # The gate took the pool that the test owned, and made the others.
    assert %{name: MyApp.Checkout, limits: limits, shed_at: :critical} = Gate.info(MyApp.Checkout)
    assert limits == [MyApp.LoginBans, MyApp.Api, MyApp.Uploads, MyApp.Jobs]
    assert Pool.info(MyApp.Jobs).limit == 1

    keys = %{MyApp.LoginBans => "mallory", MyApp.Api => "alice", MyApp.Uploads => "alice"}
    assert Penstock.run(MyApp.Checkout, fn -> Pool.info(MyApp.Jobs).in_use end, keys: keys) == {:ok, 1}
    assert Gate.try_acquire(MyApp.Checkout, keys: keys) == :ok
    assert Gate.try_acquire(MyApp.Checkout, keys: keys) == {:error, :full}

    assert [
             _vm,
             %{limit: MyApp.LoginBans},
             %{limit: MyApp.Api},
             %{limit: MyApp.Uploads},
             %{limit: MyApp.Jobs, answer: {:error, :full}}
           ] = Gate.explain(MyApp.Checkout, keys: keys)

    assert Gate.release(MyApp.Checkout, keys: keys) == :ok
    assert Penstock.Ban.ban(MyApp.LoginBans, "mallory", 60_000) == :ok
    assert {:error, {:banned, _ms}} = Penstock.run(MyApp.Checkout, fn -> :never end, keys: keys)

    # A limit that the test replaces afterwards is a limit of the gate too.
    Kit.own(MyApp.Jobs, limit: 2)
    Penstock.Ban.unban(MyApp.LoginBans, "mallory")
    for _ <- 1..2, do: assert(Gate.try_acquire(MyApp.Checkout, keys: keys) == :ok)
    assert Gate.try_acquire(MyApp.Checkout, keys: keys) == {:error, :full}

    spec = Penstock.child_spec({Agent, fn -> 1 end}, MyApp.Checkout, keys: keys)
    {:ok, mine} = start_supervised(DynamicSupervisor)
    assert DynamicSupervisor.start_child(mine, spec) == {:error, :full}
    assert Gate.release(MyApp.Checkout, keys: keys) == :ok
    assert {:ok, _agent} = DynamicSupervisor.start_child(mine, spec)
  end

  test "a gate that the test starts has the limits of the test" do
    {:ok, _} = start_supervised({Gate, name: MyApp.TestGate, limits: [MyApp.Jobs]})
    assert Gate.try_acquire(MyApp.TestGate) == :ok
    assert %{in_use: 1} = Pool.info(MyApp.Jobs)
    assert Gate.info(MyApp.TestGate).limits == [MyApp.Jobs]
  end

  test "hit_all/1 names the limiter that the application knows" do
    Kit.own(MyApp.Api, limit: 1, clock: :manual)
    hits = [{MyApp.Mails, "alice", 1}, {MyApp.Api, "alice", 1}]
    Kit.own(MyApp.Mails)
    assert RateLimiter.hit_all(hits) == :allow
    assert RateLimiter.hit_all(hits) == {:deny, MyApp.Api, 60_000}
  end

  test "a refusal names the gate that the application knows" do
    error = assert_raise Penstock.RejectedError, fn -> Penstock.run!(MyApp.Jobs, fn -> :never end, permits: 2) end
    assert error.gate == MyApp.Jobs

    assert Exception.message(error) ==
             "MyApp.Jobs did not admit: :full (2 permits were asked for, above the limit of 1)"

    Kit.own(MyApp.Tasks, limit: 0)

    error =
      assert_raise Penstock.RejectedError, fn ->
        Penstock.Task.Supervisor.async!(MyApp.Tasks, fn -> :never end, timeout: 0)
      end

    assert error.gate == MyApp.Tasks
  end

  test "a stream asks the gate of the test that made it, wherever it runs", %{own: own} do
    stream = Penstock.Task.async_stream(MyApp.Jobs, 1..3, & &1)
    assert from_elsewhere(fn -> Enum.to_list(stream) end) == [ok: 1, ok: 2, ok: 3]
    assert Pool.info(own).acquired == 3
  end

  test "a restart under a supervisor of the application, after the end of the gate, is unguarded" do
    test = self()

    {owner, agent} =
      Task.await(
        Task.async(fn ->
          Kit.own(MyApp.Sessions, limit: 1)
          {:ok, agent} = Penstock.DynamicSupervisor.start_child(MyApp.Sessions, reporting(test))
          {self(), agent}
        end)
      )

    await_end(owner)
    assert_receive {:started, ^agent}

    # The warning comes before the start.
    log =
      capture_log(fn ->
        Process.exit(agent, :kill)
        assert_receive {:started, restarted}
        Agent.stop(restarted)
      end)

    assert log =~ ~r/MyApp.Sessions, test gate \d+" is not running any more: .* starts a child unguarded/
  end

  # The server has ended the ownership when it answers a call that comes after the death.
  defp await_end(owner) do
    monitor = Process.monitor(owner)
    assert_receive {:DOWN, ^monitor, _, _, _}
    :sys.get_state(Penstock.Test.Ownership.Server)
    assert :ets.lookup(Penstock.Test.Ownership.Lookup, {:owner, owner}) == []
  end
end
