defmodule Penstock.Admission.KeyedTest do
  # Limiters and bans as gates.
  #
  # | gate and use                             | rules out                                  |
  # |------------------------------------------|--------------------------------------------|
  # | each of ten functions that start work    | a function that ignores `:key` or `:cost`  |
  # | keys and costs that are missing or wrong | a charge before the check                  |
  # | failed starts, `:max_runtime`, tasks     | a difference from a pool                   |
  # | children under supervisors               | a restart that is charged                  |
  # | streams that wait for turns              | results held back; a turn that never comes |
  # | streams that are refused or halted       | tasks or messages that stay                |
  use Penstock.PoolCase, async: true

  alias Penstock.{Ban, RateLimiter, RejectedError}

  defp limiter(opts) do
    opts = Keyword.merge([name: unique_name(), limit: 1, per: 60_000, clock: :manual], opts)
    start_supervised!({RateLimiter, opts}, id: opts[:name])
    opts[:name]
  end

  defp ban do
    name = unique_name()
    start_supervised!({Ban, name: name, clock: :manual}, id: name)
    name
  end

  defp never, do: receive(do: (:never -> :ok))

  # Returns calls of the functions that start work behind a gate. `outcome/1` turns each result
  # into `:ok`, or the reason of the refusal.
  defp ways do
    [
      run: &Penstock.run(&1, fn -> :done end, &2),
      run!: fn gate, opts ->
        try do
          Penstock.run!(gate, fn -> :done end, opts)
        rescue
          error in RejectedError -> {:error, error.reason}
        end
      end,
      spawn: &Penstock.spawn(&1, fn -> :done end, &2),
      spawn_link: &Penstock.spawn_link(&1, fn -> :done end, &2),
      spawn_monitor: &Penstock.spawn_monitor(&1, fn -> :done end, &2),
      start_process: &Penstock.start_process(&1, {Agent, :start_link, [fn -> 1 end]}, &2),
      task_start: &Penstock.Task.start(&1, fn -> :done end, &2),
      task_start_link: &Penstock.Task.start_link(&1, Process, :get, [], &2),
      task_async: &with({:ok, task} <- Penstock.Task.async(&1, fn -> :done end, &2), do: Task.await(task)),
      task_async!: fn gate, opts ->
        try do
          gate |> Penstock.Task.async!(fn -> :done end, opts) |> Task.await()
        rescue
          error in RejectedError -> {:error, error.reason}
        end
      end
    ]
  end

  defp outcome({:error, reason}), do: reason
  defp outcome(_admitted), do: :ok

  test "a limiter admits by the key, and returns when to try again" do
    for {way, call} <- ways() do
      limiter = limiter(limit: 2)
      by = fn opts -> {way, outcome(call.(limiter, opts))} end
      assert by.(key: "a") == {way, :ok}
      assert by.(key: "a", timeout: 5_000, permits: 3) == {way, :ok}
      assert by.(key: "a", timeout: 5_000) == {way, {:rate_limited, 30_000}}
      assert by.(key: "b", cost: 2) == {way, :ok}
      assert by.(key: "c", cost: 3) == {way, {:rate_limited, :infinity}}
      assert by.([]) == {way, :ok}
      assert by.(key: :global) == {way, :ok}
      assert by.([]) == {way, {:rate_limited, 30_000}}
      assert %{allowed: 5, denied: 3} = RateLimiter.info(limiter)
    end
  end

  test "a ban refuses a banned key, until the ban ends, and admits others" do
    for {way, call} <- ways() do
      ban = ban()
      :ok = Ban.ban(ban, "mallory", 1_000)
      assert {way, outcome(call.(ban, key: "alice"))} == {way, :ok}
      assert {way, outcome(call.(ban, key: "mallory"))} == {way, {:banned, 1_000}}
      Ban.advance(ban, 1_000)
      assert {way, outcome(call.(ban, key: "mallory"))} == {way, :ok}
    end
  end

  test "a missing or wrong key or cost raises, and nothing is counted" do
    limiter = limiter([])
    ban = ban()
    pool = Pool.new(limit: 1)

    for {_way, call} <- ways() do
      error = assert_raise ArgumentError, fn -> call.(ban, []) end
      assert error.message == "the gate #{inspect(ban)} is a ban and requires the option :key"

      for gate <- [limiter, ban, pool] do
        error = assert_raise ArgumentError, fn -> call.(gate, key: nil) end

        assert error.message ==
                 "expected :key to be a term other than nil (of callers that are not known, say :anonymous), got: nil"

        for cost <- [0, -1, 1.0, nil] do
          error = assert_raise ArgumentError, fn -> call.(gate, key: 1, cost: cost) end
          assert error.message == "expected :cost to be an integer between 1 and 2147483647, got: #{inspect(cost)}"
        end
      end

      for gate <- [limiter, ban] do
        assert_raise ArgumentError, ~r/at most 1024 bytes/, fn -> call.(gate, key: :binary.copy("x", 2_000)) end
      end

      assert_raise ArgumentError, Penstock.PoolCase.not_running("gate", MyApp.Nobody), fn ->
        call.(MyApp.Nobody, key: 1)
      end
    end

    assert %{allowed: 0, denied: 0} = RateLimiter.info(limiter)
    assert counts(pool) == {0, 0, 0}
  end

  test "a pool ignores a key" do
    pool = Pool.new(limit: 1)

    for {way, call} <- ways(),
        way != :start_process,
        do: assert({way, outcome(call.(pool, key: 1, timeout: 5_000))} == {way, :ok})

    eventually(fn -> counts(pool) == {0, 0, 0} end)
  end

  test "a limiter's charge is not refunded if the start fails" do
    limiter = limiter(limit: 9)
    start = fn fun -> Penstock.start_process(limiter, fun) end
    assert {:error, :no} = start.(fn -> {:error, :no} end)
    assert_raise RuntimeError, fn -> start.(fn -> raise "no" end) end
    spawn_opt = [min_heap_size: 100_000, max_heap_size: 1_000]
    assert_raise ArgumentError, fn -> Penstock.spawn(limiter, fn -> :never end, spawn_opt: spawn_opt) end
    assert RateLimiter.info(limiter).allowed == 3
    assert Enum.find(Pool.holders(%Pool{ref: Penstock.Admission.Keyed.unlimited_pool()}), &(&1.pid == self())) == nil
  end

  test "work past its :max_runtime is killed, as behind a pool" do
    limiter = limiter(limit: 10)
    Process.flag(:trap_exit, true)
    {:ok, {pid, monitor}} = Penstock.spawn_monitor(limiter, &never/0, max_runtime: 20)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    {:ok, task} = Penstock.Task.async(limiter, &never/0, max_runtime: 20)
    assert Task.yield(task, patience(10_000)) == {:exit, :killed}
    {:ok, agent} = Penstock.start_process(limiter, {Agent, :start_link, [fn -> 1 end]}, max_runtime: 20)
    assert_receive {:EXIT, ^agent, :killed}
  end

  test "a task records its callers and its function, as behind a pool" do
    limiter = limiter(limit: 10)
    me = self()
    assert limiter |> Penstock.Task.async!(fn -> Process.get(:"$callers") end) |> Task.await() == [me]
    {:ok, task} = Penstock.Task.async(limiter, Enum, :sum, [[1, 2]])
    assert {task.mfa, Task.await(task)} == {{Enum, :sum, 1}, 3}
  end

  describe "under a supervisor" do
    defp child(agent), do: Supervisor.child_spec({Agent, fn -> agent end}, restart: :permanent)

    test "a start asks the limiter, a restart does not" do
      limiter = limiter(limit: 2)
      {:ok, supervisor} = DynamicSupervisor.start_link(max_restarts: 100)
      spec = Penstock.child_spec(child(1), limiter)
      {:ok, first} = DynamicSupervisor.start_child(supervisor, spec)
      {:ok, _second} = DynamicSupervisor.start_child(supervisor, spec)
      assert DynamicSupervisor.start_child(supervisor, spec) == {:error, {:rate_limited, 30_000}}
      kill(first)
      eventually(fn -> DynamicSupervisor.count_children(supervisor).active == 2 end)
      assert %{allowed: 2, denied: 1} = RateLimiter.info(limiter)
      DynamicSupervisor.stop(supervisor)
    end

    test "a static child does not ask the limiter" do
      limiter = limiter(limit: 1)
      specs = for id <- 1..2, do: Penstock.child_spec(%{child(id) | id: id}, limiter)
      {:ok, supervisor} = Supervisor.start_link(specs, strategy: :one_for_one)
      assert %{allowed: 0, denied: 0} = RateLimiter.info(limiter)
      assert {:ok, _} = Supervisor.start_child(supervisor, %{hd(specs) | id: 3})
      assert {:error, {{:rate_limited, 60_000}, _}} = Supervisor.start_child(supervisor, %{hd(specs) | id: 4})
      Supervisor.stop(supervisor)
    end

    test "of Penstock, each start asks the limiter with the :key of the start_child call" do
      limiter = limiter(limit: 1)

      for {module, start} <- [
            {Penstock.DynamicSupervisor, &Penstock.DynamicSupervisor.start_child(&1, child(1), &2)},
            {Penstock.Task.Supervisor, &Penstock.Task.Supervisor.start_child(&1, fn -> never() end, &2)}
          ] do
        name = unique_name()
        start_supervised!({module, name: name, gate: limiter, max_restarts: 100})
        assert {:ok, pid} = start.(name, key: {module, 1})
        assert start.(name, key: {module, 1}) == {:error, {:rate_limited, 60_000}}
        assert {:ok, _} = start.(name, key: {module, 2})

        if module == Penstock.DynamicSupervisor do
          kill(pid)
          eventually(fn -> module.count_children(name).active == 2 end)
        end
      end

      assert %{allowed: 4, denied: 2} = RateLimiter.info(limiter)
    end

    test "of Penstock, a child behind a limiter holds nothing, for any value of :permits" do
      limiter = limiter(limit: 10)
      name = unique_name()
      start_supervised!({Penstock.DynamicSupervisor, name: name, gate: limiter})
      start = &Penstock.DynamicSupervisor.start_child(name, &1, permits: 3, max_runtime: &2)
      spec = Supervisor.child_spec({Agent, fn -> 1 end}, restart: :temporary)
      {:ok, agent} = start.(spec, 60_000)

      held = fn pid ->
        Enum.find(Pool.holders(%Pool{ref: Penstock.Admission.Keyed.unlimited_pool()}), &(&1.pid == pid))
      end

      for pid <- [agent, Process.whereis(name)], do: assert(held.(pid) == nil)
      assert {:error, :no} = start.(%{spec | start: {__MODULE__, :no, []}}, 60_000)
      {:ok, agent} = start.(spec, 20)
      monitor = Process.monitor(agent)
      assert_receive {:DOWN, ^monitor, :process, ^agent, :killed}
    end

    @doc false
    def no, do: {:error, :no}

    test "child_spec/3 requires a key for a ban, and asks the ban about it" do
      ban = ban()
      message = "the gate #{inspect(ban)} is a ban and requires the option :key"
      assert_raise ArgumentError, message, fn -> Penstock.child_spec(child(1), ban) end
      {:ok, supervisor} = DynamicSupervisor.start_link([])
      :ok = Ban.ban(ban, "mallory", 60_000)
      banned = Penstock.child_spec(child(1), ban, key: "mallory")
      assert {:error, {:banned, ms}} = DynamicSupervisor.start_child(supervisor, banned)
      assert ms in 1..60_000
      assert {:ok, _} = DynamicSupervisor.start_child(supervisor, Penstock.child_spec(child(1), ban, key: "bob"))

      assert_raise ArgumentError, ~r/expected :key to be a term other than nil/, fn ->
        Penstock.child_spec(child(1), ban, key: nil)
      end

      assert_raise ArgumentError, ~r/unknown option :kye/, fn -> Penstock.child_spec(child(1), ban, kye: 1) end
    end

    test "of Penstock, a gate that is not running raises at the start" do
      message = Penstock.PoolCase.not_running("gate", MyApp.Nobody)
      assert_raise ArgumentError, message, fn -> Penstock.DynamicSupervisor.start_link(name: :x, gate: MyApp.Nobody) end
    end
  end

  describe "a stream" do
    # Starts a limiter on the real clock, for streams that wait. Returns its name.
    defp paced(opts), do: limiter([clock: :monotonic] ++ opts)

    test "waits for its turn, at the limiter's pace" do
      limiter = paced(limit: 100, per: 1_000, burst: 2)
      began = System.monotonic_time(:millisecond)

      results =
        limiter |> Penstock.Task.async_stream(1..12, &(&1 * 2), max_concurrency: 4, key: "stream") |> Enum.to_list()

      assert results == for(n <- 1..12, do: {:ok, n * 2})
      # The ten elements beyond the burst of two get turns that are 10 ms apart. The clock of the
      # test rounds by up to 1 ms.
      assert System.monotonic_time(:millisecond) - began >= 99
      assert RateLimiter.info(limiter).allowed == 12
    end

    test "delivers results while it waits for a turn" do
      limiter = limiter(limit: 2, per: 600_000)
      me = self()

      consumer =
        Task.async(fn ->
          limiter
          |> Penstock.Task.async_stream(1..3, & &1, max_concurrency: 3, ordered: false)
          |> Enum.each(&send(me, &1))
        end)

      # The first two elements use up the burst. The third would get its turn after five minutes.
      assert_receive {:ok, 1}
      assert_receive {:ok, 2}
      eventually(fn -> RateLimiter.info(limiter).allowed == 3 end)
      refute Task.yield(consumer, 0)
      Task.shutdown(consumer, :brutal_kill)
    end

    test "gets turns among other callers that wait for turns" do
      limiter = paced(limit: 200, per: 1_000, burst: 1)

      for _ <- 1..2 do
        start_supervised!(
          {Task, fn -> Enum.each(Stream.cycle([1]), fn _ -> :ok = RateLimiter.acquire(limiter) end) end},
          id: make_ref()
        )
      end

      # The two tasks reserve each turn before it is free. A stream that waited for a free turn
      # without a reservation would get none.
      eventually(fn -> RateLimiter.info(limiter).allowed > 10 end)
      assert limiter |> Penstock.Task.async_stream(1..10, & &1) |> Enum.to_list() == for(n <- 1..10, do: {:ok, n})
    end

    test "raises when a turn comes after its :acquire_timeout, and kills its tasks" do
      limiter = limiter(limit: 2)
      me = self()

      fun = fn _ ->
        send(me, {:runs, self()})
        never()
      end

      # The third element comes only when the first two tasks run. So the refusal of the third
      # element finds both tasks running.
      elements =
        Stream.map(1..3, fn n ->
          if n == 3, do: for(_ <- 1..2, do: receive(do: ({:runs, pid} -> send(me, {:ran, pid}))))
          n
        end)

      error =
        assert_raise RejectedError, fn ->
          limiter
          |> Penstock.Task.async_stream(elements, fun, max_concurrency: 3, acquire_timeout: 1_000)
          |> Stream.run()
        end

      assert %{gate: ^limiter, reason: {:rate_limited, 30_000}, plug_status: 429} = error

      for _ <- 1..2 do
        assert_received {:ran, pid}
        refute Process.alive?(pid)
      end

      assert mailbox() == []

      error =
        assert_raise RejectedError, fn ->
          limiter |> Penstock.Task.async_stream([1], & &1, key: 1, cost: 3) |> Enum.to_list()
        end

      assert error.reason == {:rate_limited, :infinity}
    end

    test "can wait for longer than one receive, and raises at once for a key that is too large" do
      # The second turn comes after 12,000,000,000 ms. One `receive` can wait for 4,294,967,295 ms
      # at most.
      limiter = paced(limit: 1, per: 4_000_000_000, burst: 3)

      consumer =
        Task.async(fn ->
          limiter |> Penstock.Task.async_stream([1, 2], & &1, cost: 3, max_concurrency: 2) |> Enum.to_list()
        end)

      eventually(fn -> RateLimiter.info(limiter).allowed == 2 end)
      refute Task.yield(consumer, 0)
      Task.shutdown(consumer, :brutal_kill)

      assert_raise ArgumentError, ~r/1024 bytes/, fn ->
        Penstock.Task.async_stream(limiter, [1], & &1, key: :binary.copy("x", 2_000))
      end
    end

    test "behind a ban raises for a banned key, and without a key" do
      ban = ban()
      :ok = Ban.ban(ban, "mallory", 1_000)
      assert ban |> Penstock.Task.async_stream(1..3, & &1, key: "alice") |> Enum.to_list() == [ok: 1, ok: 2, ok: 3]

      error =
        assert_raise RejectedError, fn ->
          ban |> Penstock.Task.async_stream([1], & &1, key: "mallory") |> Enum.to_list()
        end

      assert error.reason == {:banned, 1_000}

      assert_raise ArgumentError, ~r/requires the option :key/, fn ->
        ban |> Penstock.Task.async_stream([1], & &1) |> Enum.to_list()
      end

      assert_raise ArgumentError, ~r/:key to be a term/, fn -> Penstock.Task.async_stream(ban, [1], & &1, key: nil) end
    end

    test "goes on after a suspension, and leaves nothing if it is halted while it waits" do
      limiter = paced(limit: 20, per: 1_000, burst: 1)
      stream = Penstock.Task.async_stream(limiter, 1..4, & &1, max_concurrency: 2)
      {:suspended, {:ok, 1}, next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
      {:suspended, {:ok, 2}, next} = next.({:cont, nil})
      assert {:halted, :enough} = next.({:halt, :enough})
      assert mailbox() == []
      # The stream may have reserved a turn for the third element. The halt wastes that turn.
      assert RateLimiter.info(limiter).allowed in 2..3
      assert limiter |> Penstock.Task.async_stream(1..4, & &1) |> Enum.take(2) == [ok: 1, ok: 2]
    end

    test "raises :closed when its limiter ends" do
      name = unique_name()
      {:ok, owner} = RateLimiter.start_link(name: name, limit: 1, per: 1_000, burst: 2, clock: :manual)

      elements =
        Stream.map(1..3, fn n ->
          if n == 2, do: GenServer.stop(owner)
          n
        end)

      error = assert_raise RejectedError, fn -> name |> Penstock.Task.async_stream(elements, & &1) |> Enum.to_list() end
      assert error.reason == :closed
    end

    test "of a supervisor asks with its :key as well" do
      limiter = limiter(limit: 3)
      name = unique_name()
      start_supervised!({Penstock.Task.Supervisor, name: name, gate: limiter})

      for stream <- [&Penstock.Task.Supervisor.async_stream/4, &Penstock.Task.Supervisor.async_stream_nolink/4] do
        key = make_ref()
        assert name |> stream.(1..3, & &1, key: key) |> Enum.to_list() == [ok: 1, ok: 2, ok: 3]

        assert_raise RejectedError, fn ->
          name |> stream.([1], & &1, key: key, acquire_timeout: 10) |> Enum.to_list()
        end
      end
    end
  end
end
