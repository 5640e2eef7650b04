defmodule Penstock.Task.StreamTest do
  # What `Penstock.Task.async_stream` does that `Task.async_stream` does not. What it does alike is in differential_test.exs.
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2, eventually: 1]

  alias Penstock.{Pool, RejectedError}
  alias Penstock.Task, as: Bounded

  defp never, do: receive(do: (:never -> :ok))

  defp end_it(linked) do
    Process.unlink(linked)
    monitor = Process.monitor(linked)
    Process.exit(linked, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^linked, :killed}
  end

  # Counts what runs at once, and the most there ever was.
  defp gauge, do: :atomics.new(2, [])

  defp measured(gauge, fun) do
    running = :atomics.add_get(gauge, 1, 1)
    raise_peak(gauge, running)
    value = fun.()
    :atomics.sub(gauge, 1, 1)
    value
  end

  defp raise_peak(gauge, running) do
    peak = :atomics.get(gauge, 2)

    if running > peak and :atomics.compare_exchange(gauge, 2, peak, running) != :ok do
      raise_peak(gauge, running)
    end
  end

  defp peak(gauge), do: :atomics.get(gauge, 2)

  describe "one pool for many streams" do
    test "bounds the tasks of all of them, and every item is done, in order" do
      pool = Pool.new(limit: 7)
      gauge = gauge()
      items = 1..200

      streams =
        for n <- 1..50 do
          Task.async(fn ->
            results =
              pool
              |> Bounded.async_stream(items, fn x -> measured(gauge, fn -> {n, x} end) end, max_concurrency: 4)
              |> Enum.to_list()

            {n, results, Process.info(self(), [:messages, :links]) |> Keyword.get(:messages)}
          end)
        end

      for {n, results, messages} <- Task.await_many(streams, 60_000) do
        assert results == for(x <- items, do: {:ok, {n, x}})
        assert messages == []
      end

      assert peak(gauge) <= 7
      assert all_back(pool, 7) == {0, 0, 0}
    end

    test "bounds one stream below its max_concurrency" do
      pool = Pool.new(limit: 2)
      gauge = gauge()

      fun = fn x ->
        measured(gauge, fn ->
          :erlang.yield()
          x
        end)
      end

      results = pool |> Bounded.async_stream(1..300, fun, max_concurrency: 10, ordered: false) |> Enum.sort()
      assert results == for(x <- 1..300, do: {:ok, x})
      assert peak(gauge) <= 2
    end

    test "no stream starves: one with one task at a time makes progress among greedy ones" do
      pool = Pool.new(limit: 3)

      greedy =
        for _ <- 1..4 do
          spawn_link(fn ->
            pool |> Bounded.async_stream(Stream.cycle([1]), & &1, max_concurrency: 50) |> Stream.run()
          end)
        end

      assert pool |> Bounded.async_stream(1..200, & &1, max_concurrency: 1) |> Enum.count() == 200
      for pid <- greedy, do: end_it(pid)
      assert all_back(pool, 3) == {0, 0, 0}
    end
  end

  describe "while a permit is waited for" do
    test "results go on being delivered" do
      pool = Pool.new(limit: 2)
      :ok = Pool.acquire(pool)
      me = self()

      consumer =
        spawn_link(fn ->
          pool
          |> Bounded.async_stream(
            1..3,
            fn x ->
              send(me, {:runs, x, self()})
              receive(do: (:go -> x))
            end,
            max_concurrency: 3
          )
          |> Enum.each(&send(me, {:seen, &1}))

          send(me, :over)
        end)

      # One runs, and the next waits for a permit.
      assert_receive {:runs, 1, first}
      eventually(fn -> Pool.info(pool).waiting == 1 end)
      # Its permit goes to the next, and its result is not held back by the third that waits then.
      send(first, :go)
      assert_receive {:seen, {:ok, 1}}
      assert_receive {:runs, 2, second}
      eventually(fn -> Pool.info(pool).waiting == 1 end)
      :ok = Pool.release(pool)
      assert_receive {:runs, 3, third}
      send(third, :go)
      send(second, :go)
      assert_receive {:seen, {:ok, 2}}
      assert_receive {:seen, {:ok, 3}}
      assert_receive :over
      Process.unlink(consumer)
      assert all_back(pool, 2) == {0, 0, 0}
    end

    test "the element was pulled first, and no more than that" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      me = self()

      elements =
        Stream.map(1..5, fn x ->
          send(me, {:pulled, x})
          x
        end)

      consumer = spawn_link(fn -> pool |> Bounded.async_stream(elements, & &1, max_concurrency: 4) |> Stream.run() end)
      eventually(fn -> Pool.info(pool).waiting == 1 end)
      assert_received {:pulled, 1}
      refute_received {:pulled, 2}
      Process.unlink(consumer)
      Process.exit(consumer, :kill)
      eventually(fn -> Pool.info(pool).waiting == 0 end)
    end

    test "a task that fails ends the wait" do
      pool = Pool.new(limit: 2)
      :ok = Pool.acquire(pool)
      me = self()

      {consumer, monitor} =
        spawn_monitor(fn ->
          pool
          |> Bounded.async_stream(
            1..2,
            fn _ ->
              send(me, self())
              receive(do: (:go -> exit(:shutdown)))
            end,
            max_concurrency: 2
          )
          |> Stream.run()
        end)

      assert_receive task when is_pid(task)
      eventually(fn -> Pool.info(pool).waiting == 1 end)
      send(task, :go)
      assert_receive {:DOWN, ^monitor, :process, ^consumer, :shutdown}
      eventually(fn -> match?(%{waiting: 0, in_use: 1}, Pool.info(pool)) end)
    end
  end

  describe "while the consumer has control" do
    test "nothing is parked, and no unused permit is held" do
      pool = Pool.new(limit: 2)
      :ok = Pool.acquire(pool)

      seen =
        pool
        |> Bounded.async_stream(1..20, & &1, max_concurrency: 5)
        |> Enum.map(fn {:ok, x} ->
          info = Pool.info(pool)
          # What is in use beyond ours is of a task that was started.
          running = for %{pid: pid} <- Pool.holders(pool), pid != self(), do: pid
          assert info.waiting == 0
          assert length(running) <= 1
          refute self() in running
          x
        end)

      assert seen == Enum.to_list(1..20)
      assert %{in_use: 1} = Pool.info(pool)
    end

    test "also when it is suspended" do
      pool = Pool.new(limit: 1)
      stream = Bounded.async_stream(pool, 1..3, & &1, max_concurrency: 3)
      {:suspended, {:ok, 1}, next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
      eventually(fn -> match?(%{waiting: 0, in_use: 0}, Pool.info(pool)) end)
      {:suspended, {:ok, 2}, next} = next.({:cont, nil})
      assert Pool.info(pool).waiting == 0
      {:halted, :enough} = next.({:halt, :enough})
      assert all_back(pool, 1) == {0, 0, 0}
      refute_received _
    end

    test "a consumer that ends in the middle of a stream takes its tasks along" do
      pool = Pool.new(limit: 2)

      {consumer, monitor} =
        spawn_monitor(fn ->
          stream = Bounded.async_stream(pool, 1..2, fn x -> if x == 1, do: x, else: never() end, max_concurrency: 2)
          {:suspended, {:ok, 1}, _next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^consumer, :normal}
      assert all_back(pool, 2) == {0, 0, 0}
    end

    test "a consumer that ends takes along tasks that trap exits, too" do
      pool = Pool.new(limit: 3)
      me = self()

      fun = fn
        :first ->
          :first

        traps? ->
          Process.flag(:trap_exit, traps?)
          send(me, {:runs, traps?, self()})
          never()
      end

      for {ending, reason} <- [normal: :shutdown, shutdown: :shutdown, boom: :boom, kill: :killed] do
        consumer =
          spawn(fn ->
            stream = Bounded.async_stream(pool, [:first, true, false], fun, max_concurrency: 3, timeout: :infinity)
            {:suspended, _, _next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
            receive do: (:end -> :ok)
          end)

        for traps? <- [true, false] do
          assert_receive {:runs, ^traps?, pid}
          send(me, {:dies, traps?, Process.monitor(pid)})
        end

        if ending == :normal, do: send(consumer, :end), else: Process.exit(consumer, ending)

        assert_received {:dies, true, monitor}
        assert_receive {:DOWN, ^monitor, :process, _stubborn, :killed}
        assert_received {:dies, false, monitor}
        assert_receive {:DOWN, ^monitor, :process, _soft, ^reason}
        assert all_back(pool, 3) == {0, 0, 0}
      end
    end

    test "goes on only where it was suspended" do
      pool = Pool.new(limit: 2)
      stream = Bounded.async_stream(pool, 1..3, & &1)
      {:suspended, {:ok, 1}, next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)

      elsewhere = fn command ->
        Task.await(
          Task.async(fn ->
            try do
              next.({command, nil})
            rescue
              error -> Exception.message(error)
            end
          end)
        )
      end

      message = "this stream is over, or was suspended by another process"
      assert elsewhere.(:cont) == message
      # To close what is not there is no mistake.
      assert elsewhere.(:halt) == {:halted, nil}
      assert {:suspended, {:ok, 2}, next} = next.({:cont, nil})
      assert next.({:halt, :enough}) == {:halted, :enough}
      assert_raise ArgumentError, message, fn -> next.({:cont, nil}) end
      assert all_back(pool, 2) == {0, 0, 0}
    end
  end

  describe "the time that a task may run" do
    test "is never cut short" do
      pool = Pool.new(limit: 4)
      me = self()
      watch = :erlang.spawn_opt(fn -> watch(me, false, %{}, []) end, [:link, priority: :high])

      fun = fn {x, pulled} ->
        send(watch, {:runs, self(), pulled})
        if rem(x, 20) == 0, do: never()
      end

      results =
        pool
        |> Bounded.async_stream(Stream.map(1..2_000, &{&1, now_us()}), fun,
          max_concurrency: 4,
          ordered: false,
          timeout: 3,
          on_timeout: :kill_task
        )
        |> Enum.frequencies_by(fn {how, _} -> how end)

      send(watch, :over)
      # One in twenty, and those that the machine gave no turn for so long.
      assert results.exit >= 100 and results.ok + results.exit == 2_000
      assert_receive {:ages, ages}, 10_000
      assert length(ages) in 1..results.exit
      assert Enum.min(ages) >= 3_000
    end

    # How old those were that were killed, or a little more: since they were pulled, and until it was known. One that was killed
    # before its first act says nothing.
    defp watch(parent, true, pulled, ages) when pulled == %{}, do: send(parent, {:ages, ages})

    defp watch(parent, over?, pulled, ages) do
      receive do
        {:runs, task, at} ->
          watch(parent, over?, Map.put(pulled, Process.monitor(task), at), ages)

        {:DOWN, monitor, :process, _task, reason} ->
          {at, pulled} = Map.pop!(pulled, monitor)
          watch(parent, over?, pulled, if(reason == :killed, do: [now_us() - at | ages], else: ages))

        :over ->
          watch(parent, true, pulled, ages)
      end
    end

    defp now_us, do: System.monotonic_time(:microsecond)

    test "ends also for one that has undone its link" do
      pool = Pool.new(limit: 2)

      loose = fn
        1 ->
          Process.unlink(hd(Process.get(:"$ancestors")))
          never()

        x ->
          x
      end

      stream = Bounded.async_stream(pool, [1, 2], loose, timeout: 1_000, on_timeout: :kill_task, max_concurrency: 2)
      assert Enum.to_list(stream) == [exit: :timeout, ok: 2]
      assert all_back(pool, 2) == {0, 0, 0}
    end

    test "is not that of others who link themselves to the guard" do
      pool = Pool.new(limit: 3)
      me = self()

      # Also one that holds a permit of the same pool, but of its own.
      guest = fn guard ->
        spawn(fn ->
          :ok = Pool.acquire(pool)
          Process.link(guard)
          send(me, :linked)
          never()
        end)
      end

      pool
      |> Bounded.async_stream(
        [1, 2],
        fn x ->
          if x == 1, do: send(me, {:guest, guest.(hd(Process.get(:"$ancestors")))}), else: never()
        end,
        timeout: 500,
        on_timeout: :kill_task,
        max_concurrency: 2
      )
      |> Enum.each(fn
        {:ok, _} ->
          assert_receive :linked

        {:exit, :timeout} ->
          assert_receive {:guest, pid}
          assert Process.alive?(pid)
      end)
    end

    test "goes on counting when the pool closes" do
      name = :"#{__MODULE__}.ClosedInTime"
      {:ok, owner} = Pool.start_link(name: name, limit: 2)
      me = self()

      fun = fn _ ->
        send(me, :runs)
        never()
      end

      consumer =
        Task.async(fn ->
          name
          |> Bounded.async_stream([1, 2], fun, timeout: 3_000, on_timeout: :kill_task, max_concurrency: 2)
          |> Enum.to_list()
        end)

      for _ <- 1..2, do: assert_receive(:runs)
      started = System.monotonic_time(:millisecond)
      receive after: (2_000 -> :ok)
      Process.unlink(owner)
      GenServer.stop(owner)
      assert Task.await(consumer) == [exit: :timeout, exit: :timeout]
      # The timeout did not start again, which would end after 5,000 ms.
      assert System.monotonic_time(:millisecond) - started < 4_500
    end

    test "costs nothing while no task runs" do
      pool = Pool.new(limit: 1)
      stream = Bounded.async_stream(pool, 1..2, & &1, timeout: 1)
      {:suspended, {:ok, 1}, next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
      {:links, links} = Process.info(self(), :links)
      [guard] = for pid <- links, is_pid(pid), do: pid
      {:reductions, before} = Process.info(guard, :reductions)
      receive after: (200 -> :ok)
      {:reductions, later} = Process.info(guard, :reductions)
      # Some 30 each look: five of them, not two hundred.
      assert later - before < 1_000
      assert next.({:halt, :enough}) == {:halted, :enough}
      refute_received _
    end
  end

  test "one that undid its link fails alone" do
    pool = Pool.new(limit: 1)

    fun = fn x ->
      Process.unlink(hd(Process.get(:"$ancestors")))
      if x == 1, do: exit(:boom), else: x
    end

    assert pool |> Bounded.async_stream([1, 2], fun) |> Enum.to_list() == [exit: :boom, ok: 2]
  end

  test "streams that compete for permits count no time-outs, and no refusals" do
    pool = Pool.new(limit: 2)

    for _ <- 1..4 do
      Task.async(fn -> pool |> Bounded.async_stream(1..300, & &1, max_concurrency: 4) |> Stream.run() end)
    end
    |> Task.await_many()

    assert %{timed_out: 0, rejected: 0, acquired: 1_200} = Pool.info(pool)
  end

  describe "a refusal" do
    test "by acquire_timeout raises, kills what runs, and closes the enumerable" do
      pool = Pool.new(limit: 2)
      :ok = Pool.acquire(pool)
      me = self()
      elements = Stream.resource(fn -> 0 end, &{[&1], &1 + 1}, fn _ -> send(me, :closed) end)

      fun = fn _ ->
        send(me, {:runs, self()})
        never()
      end

      error =
        assert_raise RejectedError, fn ->
          pool |> Bounded.async_stream(elements, fun, max_concurrency: 3, acquire_timeout: 20) |> Stream.run()
        end

      assert %{gate: ^pool, reason: :timeout} = error
      assert_received {:runs, task}
      refute Process.alive?(task)
      assert_received :closed
      refute_received _
      assert %{waiting: 0, timed_out: 1} = Pool.info(pool)
      :ok = Pool.release(pool)
      assert all_back(pool, 2) == {0, 0, 0}
    end

    test "comes at once with acquire_timeout: 0" do
      pool = Pool.new(limit: 1)
      :ok = Pool.acquire(pool)
      stream = Bounded.async_stream(pool, [1], & &1, acquire_timeout: 0)
      assert assert_raise(RejectedError, fn -> Enum.to_list(stream) end).reason == :full
      :ok = Pool.release(pool)
      assert Enum.to_list(stream) == [ok: 1]
    end

    test "of a full queue" do
      pool = Pool.new(limit: 1, max_waiting: 0)
      :ok = Pool.acquire(pool)
      stream = Bounded.async_stream(pool, [1], & &1)
      assert assert_raise(RejectedError, fn -> Enum.to_list(stream) end).reason == :queue_full
    end

    test "of a pool that is drained or closed meanwhile" do
      name = :"#{__MODULE__}.Closing"
      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      me = self()

      consume = fn ->
        spawn_monitor(fn ->
          send(me, :ready)

          try do
            name |> Bounded.async_stream(Stream.cycle([1]), & &1) |> Stream.run()
          rescue
            error in RejectedError -> exit({:rejected, error.gate, error.reason, Process.info(self(), :messages)})
          end
        end)
      end

      {pid, monitor} = consume.()
      assert_receive :ready
      assert Pool.drain(name) == :ok
      assert_receive {:DOWN, ^monitor, :process, ^pid, {:rejected, ^name, :closed, {:messages, []}}}
      :ok = Pool.reopen(name)

      {pid, monitor} = consume.()
      assert_receive :ready
      eventually(fn -> Pool.info(name).acquired > 10 end)
      Process.unlink(owner)
      GenServer.stop(owner)
      assert_receive {:DOWN, ^monitor, :process, ^pid, {:rejected, ^name, :closed, {:messages, []}}}
    end

    test "what the consumer does is not counted as waiting" do
      pool = Pool.new(limit: 1)

      # Each longer than the one that is pulled meanwhile may wait.
      results =
        pool
        |> Bounded.async_stream(1..4, & &1, max_concurrency: 2, acquire_timeout: 1_000)
        |> Enum.map(fn {:ok, x} = result ->
          receive(do: (:never -> :ok), after: (if(x < 3, do: 1_200, else: 0) -> result))
        end)

      assert results == for(x <- 1..4, do: {:ok, x})
    end
  end

  test "the permit of a task is back before its result is seen" do
    pool = Pool.new(limit: 30)
    :ok = Pool.acquire(pool, permits: 29)
    options = [max_concurrency: 1, acquire_timeout: 0]

    for {:ok, n} <- Bounded.async_stream(pool, 1..2_000, & &1, options) do
      assert Pool.try_acquire(pool) == :ok, "after #{n}"
      :ok = Pool.release(pool)
    end
  end

  test "a consumer killed at any instant leaves neither task nor permit" do
    pool = Pool.new(limit: 5)

    for n <- 1..500 do
      {consumer, monitor} =
        spawn_monitor(fn ->
          pool
          |> Bounded.async_stream(Stream.cycle([1]), fn _ -> :erlang.yield() end, max_concurrency: 8)
          |> Stream.run()
        end)

      for _ <- 1..rem(n * 7, 200)//1, do: :erlang.yield()
      Process.exit(consumer, Enum.at([:kill, :shutdown, :stop], rem(n, 3)))
      assert_receive {:DOWN, ^monitor, :process, ^consumer, _reason}, 1_000
    end

    assert all_back(pool, 5) == {0, 0, 0}
  end

  test "nor one that is killed as it begins or closes its stream, whose tasks trap exits" do
    pool = Pool.new(limit: 8)

    stubborn = fn _ ->
      Process.flag(:trap_exit, true)
      never()
    end

    for n <- 1..600 do
      {consumer, monitor} =
        spawn_monitor(fn ->
          stream = Bounded.async_stream(pool, Stream.cycle([1]), stubborn, max_concurrency: 8, timeout: :infinity)
          Stream.run(stream)
        end)

      for _ <- 1..rem(n * 13, 120)//1, do: :erlang.yield()
      Process.exit(consumer, Enum.at([:kill, :shutdown, :stop], rem(n, 3)))
      assert_receive {:DOWN, ^monitor, :process, ^consumer, _reason}
    end

    assert all_back(pool, 8) == {0, 0, 0}

    for n <- 1..300 do
      {consumer, monitor} =
        spawn_monitor(fn ->
          fun = fn x -> if x == 0, do: x, else: stubborn.(x) end
          stream = Bounded.async_stream(pool, Stream.concat([0], Stream.cycle([1])), fun, max_concurrency: 8)
          Enum.take(stream, 1)
        end)

      for _ <- 1..rem(n * 11, 150)//1, do: :erlang.yield()
      Process.exit(consumer, Enum.at([:kill, :shutdown, :stop], rem(n, 3)))
      assert_receive {:DOWN, ^monitor, :process, ^consumer, _reason}
    end

    assert all_back(pool, 8) == {0, 0, 0}
  end

  test "tasks killed at any instant give their permits back, and each element has a result" do
    pool = Pool.new(limit: 4)
    me = self()

    {consumer, monitor} =
      spawn_monitor(fn ->
        Process.flag(:trap_exit, true)

        results =
          pool
          |> Bounded.async_stream(
            1..600,
            fn x ->
              send(me, self())
              :erlang.yield()
              x
            end,
            max_concurrency: 6
          )
          |> Enum.to_list()

        exit({:results, results, Process.info(self(), :messages)})
      end)

    kill = fn kill, n ->
      receive do
        {:DOWN, ^monitor, :process, ^consumer, reason} ->
          reason

        task ->
          if rem(n, 2) == 0, do: Process.exit(task, :kill)
          kill.(kill, n + 1)
      end
    end

    assert {:results, results, {:messages, []}} = kill.(kill, 0)
    assert length(results) == 600

    for {result, x} <- Enum.with_index(results, 1) do
      assert result in [{:ok, x}, {:exit, :killed}]
    end

    assert all_back(pool, 4) == {0, 0, 0}
  end

  test "the guard killed by somebody takes all with it" do
    pool = Pool.new(limit: 3)
    me = self()

    fun = fn _ ->
      send(me, {:runs, self(), hd(Process.get(:"$ancestors"))})
      never()
    end

    for traps? <- [false, true] do
      {consumer, monitor} =
        spawn_monitor(fn ->
          Process.flag(:trap_exit, traps?)
          pool |> Bounded.async_stream(1..3, fun, max_concurrency: 3) |> Stream.run()
        end)

      tasks = for _ <- 1..3, do: assert_receive({:runs, _task, _guard})
      Process.exit(elem(hd(tasks), 2), :kill)
      assert_receive {:DOWN, ^monitor, :process, ^consumer, reason}
      assert reason in [:killed, {:killed, {Task.Supervised, :stream, [5_000]}}]
      assert all_back(pool, 3) == {0, 0, 0}
    end
  end

  test "an enumerable that fails as it is closed leaves nothing running" do
    pool = Pool.new(limit: 4)
    elements = Stream.resource(fn -> 1 end, &{[&1], &1 + 1}, fn _ -> raise "not closed" end)
    stream = Bounded.async_stream(pool, elements, fn x -> if x == 1, do: x, else: never() end, max_concurrency: 4)

    links = Process.info(self(), :links)

    for consume <- [fn -> Enum.each(stream, fn _ -> throw(:enough) end) end, fn -> Enum.take(stream, 1) end] do
      assert_raise RuntimeError, "not closed", consume
      assert Process.info(self(), :links) == links
      assert all_back(pool, 4) == {0, 0, 0}
    end
  end

  test "a pool of limit 0 is a pause" do
    pool = Pool.new(limit: 0)
    stream = Task.async(fn -> pool |> Bounded.async_stream(1..3, & &1) |> Enum.to_list() end)
    eventually(fn -> Pool.info(pool).waiting == 1 end)
    :ok = Pool.update(pool, limit: 2)
    assert Task.await(stream) == [ok: 1, ok: 2, ok: 3]
  end

  test "tasks end in time although another pool has the name meanwhile" do
    name = :"#{__MODULE__}.Replaced"
    {:ok, owner} = Pool.start_link(name: name, limit: 5)
    me = self()

    consumer =
      Task.async(fn ->
        fun = fn x ->
          send(me, {:runs, self()})
          if(x == 1, do: x, else: never())
        end

        name
        |> Bounded.async_stream([1, 2], fun, timeout: 1_000, on_timeout: :kill_task)
        |> Enum.map(fn result ->
          send(me, {:result, result})
          result
        end)
      end)

    assert_receive {:result, {:ok, 1}}
    assert_receive {:runs, _}
    assert_receive {:runs, _}
    Process.unlink(owner)
    GenServer.stop(owner)
    {:ok, _owner} = Pool.start_link(name: name, limit: 5)
    assert Task.await(consumer) == [ok: 1, exit: :timeout]
  end

  describe "bad input" do
    test "is an ArgumentError that names it, before anything is started" do
      pool = Pool.new(limit: 1)
      untouched = Stream.map([1], fn _ -> flunk("pulled") end)

      for {message, args} <- [
            {"expected :max_concurrency to be an integer between 1 and 2147483647, got: 0",
             [&never/1, [max_concurrency: 0]]},
            {"expected :max_concurrency to be", [&never/1, [max_concurrency: 1.5]]},
            {"expected :timeout to be a number of milliseconds between 0 and 2147483647 or :infinity, got: -1",
             [&never/1, [timeout: -1]]},
            {"expected :acquire_timeout to be", [&never/1, [acquire_timeout: :never]]},
            {"expected :on_timeout to be :exit or :kill_task, got: :kill", [&never/1, [on_timeout: :kill]]},
            {"expected :ordered to be true or false, got: nil", [&never/1, [ordered: nil]]},
            {"expected :zip_input_on_exit to be true or false, got: 1", [&never/1, [zip_input_on_exit: 1]]},
            {"unknown option :permits. Known: :max_concurrency, :ordered", [&never/1, [permits: 2]]},
            {"expected options to be a keyword list, got: :all", [&never/1, :all]},
            {"expected fun to be a function of arity 1, got: #Function", [&never/0]},
            {"expected module to be an atom", ["Enum", :sum, []]},
            {"expected args to be a list", [Enum, :sum, 1]}
          ] do
        error = assert_raise ArgumentError, fn -> apply(Bounded, :async_stream, [pool, untouched | args]) end
        assert error.message =~ message
      end

      assert_raise ArgumentError, Penstock.PoolCase.not_running("gate", MyApp.NoPool), fn ->
        Bounded.async_stream(MyApp.NoPool, untouched, &never/1)
      end

      assert_raise ArgumentError, ~r/expected gate to be/, fn -> Bounded.async_stream(%{}, untouched, &never/1) end
      assert %{in_use: 0, acquired: 0} = Pool.info(pool)
    end

    test "a pool that is gone when the stream is used" do
      name = :"#{__MODULE__}.Gone"
      {:ok, owner} = Pool.start_link(name: name, limit: 1)
      stream = Bounded.async_stream(name, [1], & &1)
      Process.unlink(owner)
      GenServer.stop(owner)
      assert_raise ArgumentError, Penstock.PoolCase.not_running("gate", name), fn -> Enum.to_list(stream) end
    end

    defp never(_), do: never()
  end
end
