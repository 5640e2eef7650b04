defmodule Penstock.SpawnersTest do
  # Tests who is named as a creator of processes, and that no tracing stays.
  #
  # | scenario                                  | rules out                                        |
  # |-------------------------------------------|--------------------------------------------------|
  # | processes of each kind                    | a name of OTP, Elixir or Penstock for the user's |
  # | living and dead processes, many processes | wrong counts; a sample that is not scaled        |
  # | two calls at once, bad arguments          | two runs that share a tracer                     |
  # | another tracer                            | an end of the tracing of others                  |
  # | kills of caller, run and tracer           | tracing that outlives the call                   |
  # | calls with arguments of odd types         | a killed tracer; names that cannot be shown      |
  # | large arguments, bounds reached at once   | counts of a billion; a call that ends early      |
  # | a dictionary of shared terms              | a copy that takes all memory                     |
  use ExUnit.Case, async: false

  doctest Penstock, only: [spawners: 1]

  alias Penstock.Spawners.{Call, Origin, Rows, Tracer}

  @compile {:no_warn_undefined, :trace}

  @ms 500
  @kills 30
  @patience_ms 30_000 * Penstock.PoolCase.slowness()

  defmodule Server do
    use GenServer
    def init(arg), do: {:ok, arg}
  end

  defmodule Creator do
    # Creates processes of each kind. Each function creates `count` of them.
    def funs(count), do: for(_ <- 1..count, do: spawn(fn -> :ok end))
    def calls(count), do: for(_ <- 1..count, do: spawn_link(Enum, :sum, [[1, 2]]))
    def proc_lib(count), do: for(_ <- 1..count, do: :proc_lib.spawn(fn -> :ok end))
    def starts(count), do: for(_ <- 1..count, do: Task.start(fn -> :ok end))
    def start_calls(count), do: for(_ <- 1..count, do: Task.start(Enum, :max, [[1, 2]]))
    def servers(count), do: for(_ <- 1..count, do: GenServer.start(Server, 1))
    def agents(count), do: for(_ <- 1..count, do: Agent.start(fn -> 1 end))
    def gated(pool, count), do: for(_ <- 1..count, do: Penstock.spawn(pool, fn -> :ok end, timeout: 5_000))
    def gated_tasks(pool, count), do: for(_ <- 1..count, do: Penstock.Task.start(pool, fn -> :ok end, timeout: 5_000))

    def children(supervisor, count) do
      for _ <- 1..count, do: Task.Supervisor.start_child(supervisor, fn -> :ok end)
    end

    def awaited(pool, count),
      do: for(_ <- 1..count, do: pool |> Penstock.Task.async(&stop/0) |> elem(1) |> Task.await())

    # The tasks wait, so that they can be asked for their function.
    def async(test, count) do
      tasks = for _ <- 1..count, do: Task.async(fn -> {:stopped, wait(test)} end)
      receive do: (:go_on -> :ok)
      for %{pid: pid} <- tasks, do: send(pid, :stop)
      Task.await_many(tasks)
    end

    defp wait(test) do
      send(test, {:ready, self()})
      receive do: (:stop -> :ok)
    end

    defp stop, do: :ok
  end

  defp sessions?, do: :erlang.system_info(:otp_release) >= ~c"27"

  # Returns `true` if processes that are created now are traced by the call.
  defp traced? do
    if sessions?() do
      List.keymember?(:trace.session_info(:new_processes), :penstock_spawners, 0)
    else
      :erlang.trace_info(:new_processes, :tracer) != {:tracer, []}
    end
  end

  defp until(fun, deadline \\ System.monotonic_time(:millisecond) + @patience_ms) do
    cond do
      fun.() -> :ok
      System.monotonic_time(:millisecond) > deadline -> flunk("the condition did not become true")
      true -> receive(after: (1 -> until(fun, deadline)))
    end
  end

  # Returns the rows of a call during all of which `fun` ran. Repeats the call if it ended earlier,
  # as it may on a busy machine.
  defp rows_during(fun, ms \\ @ms) do
    call = Task.async(fn -> Penstock.spawners(ms) end)
    until(&traced?/0)
    result = fun.()
    # The tracing itself pauses as soon as a window has counted its most.
    during? = Process.alive?(call.pid)
    rows = Task.await(call, @patience_ms)
    if during?, do: {rows, result}, else: rows_during(fun, min(ms * 2, 10_000))
  end

  defp row(rows, module, function, arity) do
    Enum.find(rows, fn %{mfa: mfa} -> match?({^module, _, ^arity}, mfa) and name?(mfa, function) end)
  end

  defp name?({_module, name, _arity}, function), do: name == function or String.contains?("#{name}", "-#{function}/")

  defp sum(rows, module, function, arity) do
    for %{mfa: {^module, _, ^arity} = mfa, spawned: spawned} <- rows, name?(mfa, function), reduce: 0 do
      sum -> sum + spawned
    end
  end

  setup do
    # A call loads modules, and the processes that load them would be counted.
    Penstock.spawners(1)
    on_exit(fn -> until(fn -> not traced?() end) end)
  end

  test "names the user's function of processes of each kind, and counts them" do
    {:ok, supervisor} = Task.Supervisor.start_link()
    pool = Penstock.Pool.new(limit: 10)

    {rows, _} =
      rows_during(fn ->
        Creator.funs(60)
        Creator.calls(50)
        Creator.proc_lib(11)
        Creator.starts(12)
        Creator.start_calls(13)
        Creator.servers(14)
        Creator.agents(15)
        Creator.children(supervisor, 16)
        Creator.gated(pool, 17)
        Creator.gated_tasks(pool, 18)
        Creator.awaited(pool, 19)
      end)

    assert %{mfa: {Creator, _, 0}, spawned: 60} = hd(rows)

    for {function, count} <-
          [funs: 60, proc_lib: 11, starts: 12, agents: 15, children: 16, gated: 17] ++
            [gated_tasks: 18, stop: 19] do
      assert {function, sum(rows, Creator, function, 0)} == {function, count}
    end

    assert sum(rows, Enum, :sum, 1) == 50
    assert sum(rows, Enum, :max, 1) == 13
    assert sum(rows, Server, :init, 1) == 14
    assert Enum.sum(for %{mfa: {Server, :init, 1}, alive: alive} <- rows, do: alive) == 14
    assert row(rows, Creator, :funs, 0).alive == 0
    assert Enum.map(rows, & &1.spawned) == Enum.sort(Enum.map(rows, & &1.spawned), :desc)
    refute Enum.any?(rows, fn %{mfa: {module, _, _}} -> module in [:proc_lib, :gen, Penstock.Task.Runner] end)
  end

  test "names what the creator runs, and the function of tasks that get it late" do
    {late, creator} = late_tasks()
    assert %{by: {Creator, _, _} = by, spawned: 5, alive: 5} = late
    assert name?(by, :async)
    send(creator, :go_on)
  end

  # Returns the row of five tasks. A node that stands still for 50 ms drops questions, and a process
  # without an answer is named by its first function, or has no `by`. Only then the call repeats.
  defp late_tasks(tries \\ 5) do
    test = self()

    {rows, creator} =
      rows_during(
        fn ->
          creator = spawn_link(fn -> Creator.async(test, 5) end)
          for _ <- 1..5, do: assert_receive({:ready, pid} when is_pid(pid), @patience_ms)
          creator
        end,
        200
      )

    tasks = for %{mfa: {module, _, _}} = row <- rows, module in [Creator, Task.Supervised], do: row
    assert Enum.sum(for %{spawned: spawned} <- tasks, do: spawned) == 5

    # Before OTP 26.2, the function is read from the stack, where its arity has free variables.
    for %{mfa: {Creator, _, _} = mfa} <- tasks, do: assert(name?(mfa, :async))

    if Enum.all?(tasks, &match?(%{mfa: {Creator, _, _}, by: {_, _, _}}, &1)) do
      assert [late] = tasks
      {late, creator}
    else
      assert tries > 1, "questions were dropped in each call: #{inspect(tasks)}"
      send(creator, :go_on)
      late_tasks(tries - 1)
    end
  end

  # Each window has creations of its own. The answers of the next one are never among its answers.
  test "answers for a window what was asked in it" do
    creator = self()
    tracer = Tracer.start_link(Origin.start_link())
    from = System.monotonic_time()

    # No window is longer than 150 ms, so no two of these are in one window.
    for {function, ms} <- [sum: 0, max: 200, min: 400] do
      ts = from + System.convert_time_unit(ms, :millisecond, :native)
      send(tracer, {:trace_ts, creator, :spawned, creator, {Enum, function, [[1]]}, ts})
    end

    monitor = Process.monitor(tracer)
    Tracer.begin(tracer, :none, :whole, from, from + System.convert_time_unit(@ms, :millisecond, :native))
    assert_receive {:DOWN, ^monitor, :process, ^tracer, :normal}, @patience_ms
    windows = received(fn -> receive(do: ({:window, ^tracer, window} -> window), after: (0 -> nil)) end)

    assert for(%{rows: rows} <- windows, {{call, _creator}, _row} <- rows, do: call) == [
             {Enum, :sum, 1},
             {Enum, :max, 1},
             {Enum, :min, 1}
           ]

    for %{number: number, rows: rows} <- windows do
      assert_receive {:origins, ^number, %{by: by}}, @patience_ms
      # The questions are dropped if the node stands still, so some may have no answer.
      assert Map.keys(by) -- Map.keys(rows) == []
    end
  end

  defp received(take), do: Stream.repeatedly(take) |> Enum.take_while(& &1)

  test "counts the living, and scales what it does not count" do
    # The batches are more than a window counts, and more than a sample keeps.
    {rows, pids} = rows_during(fn -> for(_ <- 1..5_000, do: living()) end)
    assert row = row(rows, __MODULE__, :living, 0)
    assert row.spawned > 500
    assert row.alive == row.spawned
    for pid <- pids, do: Process.exit(pid, :kill)
  end

  defp living, do: spawn(fn -> receive(do: (:stop -> :ok)) end)

  @tag :capture_log
  test "names calls with arguments of odd types by their first function" do
    odd = [
      {:erlang, :apply, [Odd, :call, [1 | 2]]},
      {:erlang, :apply, [1, 2, []]},
      {:erlang, :apply, [Odd, "call", []]},
      {:erlang, :apply, [1, []]},
      {:proc_lib, :init_p, [self(), [], 1, 2, :x]},
      {:proc_lib, :init_p, [self(), [], Odd, :call, [1 | 2]]},
      {:gen, :init_it, [1, 2, 3, "module", 5, 6]},
      {:gen, :init_it, [1, 2, 3, 4, "module", 5, 6]},
      {:gen, :init_it, [1, 2, 3, Agent.Server, {Odd, :call, [1 | 2]}, 6]},
      {Task.Supervised, :noreply, []},
      {Task.Supervised, :noreply, [{Odd, :call, [1 | 2]}]},
      {Penstock.Task.Runner, :element, [{1, 2, 3, 4, {Odd, 5, [1 | 2]}}, 2, 3]},
      {Penstock.Task.Runner, :run, [1, 2, {Odd, :call, :args}]}
    ]

    for {module, function, args} = call <- odd do
      assert {named, name, arity} = Call.of(call)
      expected = if Agent.Server in args, do: {Agent.Server, :init, 1}, else: {module, function, length(args)}
      assert {named, name, arity} == expected
      assert is_binary(Exception.format_mfa(named, name, arity))
    end

    {rows, _} =
      rows_during(fn ->
        for {:erlang, :apply, args} <- odd, do: spawn(:erlang, :apply, args)
        Creator.funs(10)
      end)

    assert sum(rows, :erlang, :apply, 3) == 3
    assert sum(rows, :erlang, :apply, 2) == 1
    assert sum(rows, Creator, :funs, 0) == 10
  end

  # One tracer, whose run is the test. The messages are there before it begins.
  defp window(messages) do
    tracer = Tracer.start_link(Origin.start_link())
    from = System.monotonic_time()
    for {ts, args} <- messages, do: send(tracer, {:trace_ts, self(), :spawned, self(), {Enum, :sum, args}, from + ts})
    Tracer.begin(tracer, :none, :whole, from, from + System.convert_time_unit(@ms, :millisecond, :native))
    assert_receive {:window, ^tracer, window}, @patience_ms
    window
  end

  test "makes no short time stand for a window" do
    shortest = System.convert_time_unit(100, :microsecond, :native)
    large = [Enum.to_list(1..1_500_000)]
    many = 500

    # Each of these reaches a bound: of memory before the window begins, of memory, and of messages.
    for {messages, counted} <- [
          {[{-1, large}], 0},
          {[{1, large}], 1},
          {[{1, large}, {2, [[1]]}], 2},
          {for(_ <- 1..many, do: {1, [[1]]}), many}
        ] do
      %{rows: rows, newest: newest} = window = window(messages)
      assert window.to - window.from >= shortest
      assert window.slice >= shortest
      assert Enum.sum(for {_key, {count, _pids}} <- rows, do: count) == counted
      assert newest == nil == (counted == 0)

      # The newest counts once, and the others in proportion.
      length = window.next - window.from
      expected = if counted == 0, do: 0, else: 1 + (counted - 1) * length / (window.to - window.from)
      listed = Rows.new() |> Rows.add(window, Origin.none()) |> Rows.list(length, @ms)
      assert_in_delta Enum.sum(Enum.map(listed, & &1.spawned)), expected, 1
      assert expected <= 1 + counted * 1_500
    end
  end

  # Each message of an earlier window counts once.
  test "counts late messages of a closed window in no proportion" do
    past = System.monotonic_time() - System.convert_time_unit(@ms, :millisecond, :native)
    tracer = Tracer.start_link(Origin.start_link())
    call = {Enum, :sum, [[1]]}
    # No window is as long as 200 ms, so the first message opens a later window.
    later = past + System.convert_time_unit(200, :millisecond, :native)
    for ts <- [later | List.duplicate(past, 499)], do: send(tracer, {:trace_ts, self(), :spawned, self(), call, ts})
    Tracer.begin(tracer, :none, :whole, past, System.monotonic_time() + System.convert_time_unit(1, :second, :native))
    assert %{to: to, next: next} = window = last_window(tracer)
    assert to < next
    assert [%{spawned: 500}] = Rows.new() |> Rows.add(window, Origin.none()) |> Rows.list(next - window.from, @ms)
  end

  # Returns the window that reached a bound.
  defp last_window(tracer) do
    assert_receive {:window, ^tracer, window}, @patience_ms
    if window.slice == :whole, do: last_window(tracer), else: window
  end

  test "estimates the count of processes with large funs, and takes its time" do
    large = Enum.to_list(1..10_000)
    stop = :atomics.new(1, [])
    {creator, monitor} = spawn_monitor(fn -> exit({:created, create(large, stop, 0)}) end)
    start = System.monotonic_time(:millisecond)
    rows = Penstock.spawners(@ms)
    assert System.monotonic_time(:millisecond) - start >= @ms
    :atomics.put(stop, 1, 1)
    assert_receive {:DOWN, ^monitor, :process, ^creator, {:created, created}}, @patience_ms
    # The shortest slice stands for 1,500 times its length, and has few of these creations.
    assert sum(rows, __MODULE__, :create, 0) in 1..(10 * created + 30_000)
  end

  defp create(large, stop, created) do
    if :atomics.get(stop, 1) == 0 do
      spawn(fn -> length(large) end)
      create(large, stop, created + 1)
    else
      created
    end
  end

  # A dictionary of shared terms is small in its process, and large in a copy. The process that asks
  # could not have that copy: it is killed at 8 MB.
  test "copies no dictionary of a creator or of a created process" do
    pid =
      spawn_link(fn ->
        Process.put(:shared, Enum.reduce(1..22, [1], fn _, term -> [term, term] end))
        receive do: (:end -> :ok)
      end)

    until(fn -> Process.info(pid, :status) == {:status, :waiting} end)
    kept = :erlang.system_flag(:max_heap_size, %{size: 1_000_000, kill: true, error_logger: false})

    try do
      origin = Origin.start_link()
      Origin.ask_creator(origin, {{Enum, :sum, 1}, pid})
      Origin.ask_late(origin, {{Task.Supervised, :reply, 4}, self()}, pid)
      Origin.answer(origin, 1)
      assert_receive {:origins, 1, %{by: by}}, @patience_ms
      # The questions are dropped if the node stands still.
      for {_key, by} <- by, do: assert({__MODULE__, _, 0} = by)
    after
      :erlang.system_flag(:max_heap_size, kept)
    end
  end

  test "refuses a second call, and wrong arguments" do
    {result, _} = rows_during(fn -> assert Penstock.spawners(1) == {:error, :busy} end)
    assert is_list(result)
    assert is_list(Penstock.spawners(1))

    for bad <- [0, -1, 60_001, 1.0, :infinity, nil, "5"] do
      assert_raise ArgumentError, ~r/expected ms to be .* 60000, got: /, fn -> Penstock.spawners(bad) end
    end
  end

  test "leaves the tracing of others as it is" do
    :erlang.trace(:new_processes, true, [:procs])

    try do
      if sessions?() do
        {rows, pid} = rows_during(fn -> spawn(Enum, :sum, [[1]]) end)
        assert row(rows, Enum, :sum, 1)
        assert_receive {:trace, ^pid, :spawned, _, {Enum, :sum, _}}
      else
        assert Penstock.spawners(1) == {:error, :tracing}
      end

      pid = spawn(Enum, :max, [[1]])
      assert_receive {:trace, ^pid, :spawned, _, {Enum, :max, _}}
      assert :erlang.trace_info(:new_processes, :tracer) == {:tracer, self()}
    after
      :erlang.trace(:new_processes, false, [:procs])
    end
  end

  test "ends the tracing when the caller or a process of the call is killed" do
    for kill <- 1..@kills, victim <- [:caller, :run, :helper] do
      {caller, monitor} = spawn_monitor(fn -> exit({:result, Penstock.spawners(20)}) end)
      until(fn -> Process.whereis(Penstock.Spawners) || not Process.alive?(caller) end)
      run = Process.whereis(Penstock.Spawners)
      spin(rem(kill * 7_919, 20_000))
      kill(victim, caller, run)
      assert_receive {:DOWN, ^monitor, :process, ^caller, reason}, @patience_ms

      case reason do
        {:result, rows} -> assert is_list(rows)
        {:killed, {Penstock.Spawners.Run, :run, [20]}} -> assert victim == :run
        :killed -> assert victim == :caller
      end

      until(fn -> Process.whereis(Penstock.Spawners) == nil end)
      until(fn -> not traced?() end)
      refute Process.whereis(Penstock.Spawners)
    end

    assert is_list(Penstock.spawners(1))
  end

  defp spin(0), do: :ok
  defp spin(rounds), do: spin(rounds - 1)

  defp kill(:caller, caller, _run), do: Process.exit(caller, :kill)
  defp kill(_victim, _caller, nil), do: true
  defp kill(:run, _caller, run), do: Process.exit(run, :kill)

  defp kill(:helper, _caller, run) do
    with {:links, [_ | _] = links} <- Process.info(run, :links), do: Process.exit(Enum.random(links), :kill)
  end
end
