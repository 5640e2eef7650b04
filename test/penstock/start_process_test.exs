defmodule Penstock.StartProcessTest do
  use Penstock.PoolCase, async: true

  defmodule Server do
    use GenServer

    def start_link(what, opts \\ []), do: GenServer.start_link(__MODULE__, what, opts)

    @impl true
    def init(:raise), do: raise("no")
    def init(fun) when is_function(fun, 0), do: fun.()
    def init(other), do: {:ok, other}
  end

  defmodule Statem do
    def start_link, do: :gen_statem.start_link(__MODULE__, [], [])
    def callback_mode, do: :handle_event_function
    def init(_), do: {:ok, :state, :data}
    def handle_event(_, _, _, _), do: :keep_state_and_data
  end

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  test "a process of each kind holds its permits until it dies" do
    for pool <- both(limit: 2),
        start <- [
          {Agent, :start_link, [fn -> 1 end]},
          fn -> Agent.start_link(fn -> 1 end) end,
          {Server, :start_link, [:state]},
          fn -> Server.start_link(:state) end,
          {Statem, :start_link, []},
          {Supervisor, :start_link, [[], [strategy: :one_for_one]]},
          {Task, :start_link, [fn -> receive(do: (:never -> :ok)) end]},
          # A start function can return `{:ok, pid, extra}`.
          fn -> with {:ok, pid} <- Agent.start(fn -> 1 end), do: {:ok, pid, :more} end
        ] do
      started = Penstock.start_process(pool, start, permits: 2)
      pid = elem(started, 1)
      assert elem(started, 0) == :ok
      assert [%{pid: ^pid, permits: 2}] = Pool.holders(pool)
      assert Penstock.start_process(pool, start) == {:error, :full}
      assert Pool.release(pool) == {:error, :not_held}
      kill(pid)
      :ok = Pool.acquire(pool, permits: 2)
      :ok = Pool.release(pool, 2)
    end
  end

  test "the permits return if the start function starts no process, and the caller gets its result or exception" do
    for pool <- both(limit: 1) do
      for {start, result} <- [
            {fn -> :ignore end, :ignore},
            {{Server, :start_link, [fn -> :ignore end]}, :ignore},
            {{Server, :start_link, [fn -> {:stop, :no} end]}, {:error, :no}},
            {fn -> {:error, :no} end, {:error, :no}},
            {fn -> :foo end, :foo},
            {fn -> {:ok, :not_a_pid} end, {:ok, :not_a_pid}},
            {fn -> {:ok, hd(Penstock.Garbage.remote_pids())} end, {:ok, hd(Penstock.Garbage.remote_pids())}}
          ] do
        assert Penstock.start_process(pool, start) == result
        assert counts(pool) == {0, 0, 0}
      end

      assert {:error, {%RuntimeError{}, _}} = Penstock.start_process(pool, {Server, :start_link, [:raise]})
      assert_raise RuntimeError, "oops", fn -> Penstock.start_process(pool, fn -> raise "oops" end) end
      assert catch_throw(Penstock.start_process(pool, fn -> throw(:oops) end)) == :oops
      assert catch_exit(Penstock.start_process(pool, fn -> exit(:oops) end)) == :oops
      assert counts(pool) == {0, 0, 0}

      # The process is already dead when the start function returns it.
      dead = spawn(fn -> :ok end)
      kill(dead)
      assert Penstock.start_process(pool, fn -> {:ok, dead} end) == {:ok, dead}
      assert counts(pool) == {0, 0, 0}
    end
  end

  test "waits for a permit with a :timeout" do
    pool = Pool.new(limit: 1)
    holder = holder(pool)
    me = self()

    asking =
      Task.async(fn ->
        send(me, Penstock.start_process(pool, fn -> Agent.start(fn -> 1 end) end, timeout: :infinity))
      end)

    await_waiting(pool, 1)
    kill(holder)
    assert_receive {:ok, agent}
    Task.await(asking)
    assert [%{pid: ^agent}] = Pool.holders(pool)
    kill(agent)
  end

  test "the permits come back if the caller is killed inside the start function" do
    pool = Pool.new(limit: 1)
    me = self()

    starter =
      spawn(fn ->
        Penstock.start_process(pool, fn ->
          send(me, :starts)
          receive do: (:never -> :ok)
        end)
      end)

    assert_receive :starts
    assert [%{pid: ^starter}] = Pool.holders(pool)
    kill(starter)
    :ok = Pool.acquire(pool)
  end

  test "a process past its :max_runtime is killed and counted" do
    for pool <- both(limit: 1) do
      {:ok, agent} = Penstock.start_process(pool, {Agent, :start, [fn -> 1 end]}, max_runtime: 30)
      monitor = Process.monitor(agent)
      assert_receive {:DOWN, ^monitor, :process, ^agent, :killed}
      :ok = Pool.acquire(pool)
      assert %{killed: 1, released_by_exit: 1} = Pool.info(pool)
    end
  end

  test "start functions can be nested" do
    pool = Pool.new(limit: 3)

    {:ok, outer} =
      Penstock.start_process(pool, fn ->
        {:ok, inner} = Penstock.start_process(pool, {Agent, :start_link, [fn -> :inner end]})
        {:ok, spawned} = Penstock.spawn(pool, fn -> receive(do: (:never -> :ok)) end)
        Agent.start_link(fn -> {inner, spawned} end)
      end)

    {inner, spawned} = Agent.get(outer, & &1)
    assert Enum.sort([outer, inner, spawned]) == Enum.sort(for %{pid: pid, permits: 1} <- Pool.holders(pool), do: pid)
    for pid <- [outer, inner, spawned], do: kill(pid)
    :ok = Pool.acquire(pool, permits: 3)
  end

  test "bad input raises before a permit is taken or a process is started" do
    pool = Pool.new(limit: 1)
    flunk = fn -> flunk("started") end

    for {start, opts, message} <- [
          {:nope, [], "expected start to be {module, function, args} or a function of arity 0, got: :nope"},
          {{Agent, :start_link, :no}, [], "expected args to be a list, got: :no"},
          {{"Agent", :start_link, []}, [], "expected module to be an atom, got: \"Agent\""},
          {flunk, [permits: 0], "expected :permits to be an integer between 1 and 2147483647, got: 0"},
          {flunk, [timeout: -1], "expected :timeout to be a number of milliseconds between 0"},
          {flunk, [max_runtime: 0], "expected :max_runtime to be a number of milliseconds between 1"},
          {flunk, [spawn_opt: []],
           "unknown option :spawn_opt. Known: :timeout, :permits, :key, :keys, :cost, :max_runtime"}
        ] do
      error = assert_raise ArgumentError, fn -> Penstock.start_process(pool, start, opts) end
      assert error.message =~ message
    end

    assert_raise ArgumentError, Penstock.PoolCase.not_running("gate", MyApp.NoPool), fn ->
      Penstock.start_process(MyApp.NoPool, flunk)
    end

    assert %{acquired: 0, in_use: 0} = Pool.info(pool)
  end
end
