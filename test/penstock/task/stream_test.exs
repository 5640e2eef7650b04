defmodule Penstock.Task.StreamTest do
  # Tests how one pool bounds many streams, and how their consumers wait for its permits. Elixir's
  # `Task.async_stream` has neither. differential_test.exs compares Penstock with Elixir, and
  # stream_*_test.exs test refusals, timeouts and kills.
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2, eventually: 1, patience: 1]

  alias Penstock.Pool
  alias Penstock.Task, as: Bounded

  defp never, do: receive(do: (:never -> :ok))

  defp kill_linked(linked) do
    Process.unlink(linked)
    monitor = Process.monitor(linked)
    Process.exit(linked, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^linked, :killed}
  end

  # Returns two counters: how many functions run now, and the most that have run at once.
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
    test "bounds the tasks of all streams together, and each stream gets all results in order" do
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

      for {n, results, messages} <- Task.await_many(streams, patience(60_000)) do
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

    test "no stream starves: a stream of one task at a time ends among greedy streams" do
      pool = Pool.new(limit: 3)

      greedy =
        for _ <- 1..4 do
          spawn_link(fn ->
            pool |> Bounded.async_stream(Stream.cycle([1]), & &1, max_concurrency: 50) |> Stream.run()
          end)
        end

      assert pool |> Bounded.async_stream(1..200, & &1, max_concurrency: 1) |> Enum.count() == 200
      for pid <- greedy, do: kill_linked(pid)
      assert all_back(pool, 3) == {0, 0, 0}
    end
  end

  describe "while a stream waits for a permit" do
    test "the consumer gets results" do
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

      # The test holds one of the two permits. The task of the first element holds the other, so
      # the second element waits.
      assert_receive {:runs, 1, first}
      eventually(fn -> Pool.info(pool).waiting == 1 end)
      # The permit of the first task goes to the second one. The consumer gets the first result
      # although the third element waits for a permit.
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

    test "the stream has pulled one element, and no more" do
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
    test "no request is parked, and the stream holds no unused permit" do
      pool = Pool.new(limit: 2)
      :ok = Pool.acquire(pool)

      seen =
        pool
        |> Bounded.async_stream(1..20, & &1, max_concurrency: 5)
        |> Enum.map(fn {:ok, x} ->
          info = Pool.info(pool)
          # The consumer holds the permit that it has acquired itself. The other permit is free,
          # or a running task holds it.
          running = for %{pid: pid} <- Pool.holders(pool), pid != self(), do: pid
          assert info.waiting == 0
          assert length(running) <= 1
          refute self() in running
          x
        end)

      assert seen == Enum.to_list(1..20)
      assert %{in_use: 1} = Pool.info(pool)
    end

    test "a suspended stream has no parked request, and holds no permit" do
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

    test "a consumer that ends ends its tasks" do
      pool = Pool.new(limit: 2)

      {consumer, monitor} =
        spawn_monitor(fn ->
          stream = Bounded.async_stream(pool, 1..2, fn x -> if x == 1, do: x, else: never() end, max_concurrency: 2)
          {:suspended, {:ok, 1}, _next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^consumer, :normal}
      assert all_back(pool, 2) == {0, 0, 0}
    end

    test "a consumer that ends also ends tasks that trap exits" do
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

    test "a suspended stream goes on only in the process that suspended it" do
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
      # A halt by another process returns the usual result, but the stream goes on.
      assert elsewhere.(:halt) == {:halted, nil}
      assert {:suspended, {:ok, 2}, next} = next.({:cont, nil})
      assert next.({:halt, :enough}) == {:halted, :enough}
      assert_raise ArgumentError, message, fn -> next.({:cont, nil}) end
      assert all_back(pool, 2) == {0, 0, 0}
    end
  end

  test "streams that compete for permits count no time-outs, and no refusals" do
    pool = Pool.new(limit: 2)

    for _ <- 1..4 do
      Task.async(fn -> pool |> Bounded.async_stream(1..300, & &1, max_concurrency: 4) |> Stream.run() end)
    end
    |> Task.await_many()

    assert %{timed_out: 0, rejected: 0, acquired: 1_200} = Pool.info(pool)
  end

  test "the permit of a task is back before the consumer gets the result" do
    pool = Pool.new(limit: 30)
    :ok = Pool.acquire(pool, permits: 29)
    options = [max_concurrency: 1, acquire_timeout: 0]

    for {:ok, n} <- Bounded.async_stream(pool, 1..2_000, & &1, options) do
      assert Pool.try_acquire(pool) == :ok, "after #{n}"
      :ok = Pool.release(pool)
    end
  end

  test "a pool of limit 0 pauses a stream until the limit is raised" do
    pool = Pool.new(limit: 0)
    stream = Task.async(fn -> pool |> Bounded.async_stream(1..3, & &1) |> Enum.to_list() end)
    eventually(fn -> Pool.info(pool).waiting == 1 end)
    :ok = Pool.update(pool, limit: 2)
    assert Task.await(stream) == [ok: 1, ok: 2, ok: 3]
  end
end
