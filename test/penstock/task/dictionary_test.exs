defmodule Penstock.Task.DictionaryTest do
  # User code can erase its process dictionary, or fill it with foreign values, at any time. So
  # Penstock must not depend on the dictionary. `disturbances/0` has the six ways that tests try.
  #
  # | disturbed dictionary                | rules out                                     |
  # |-------------------------------------|-----------------------------------------------|
  # | of a task, before each of five ends | another exit reason; a permit that stays      |
  # | of a task that raises               | a log without its starter; a second crash     |
  # | of a task that returns              | a value that comes before the permit is back  |
  # | of a task that never ends           | a task that outlives its `:max_runtime`       |
  # | of a task in a stream               | another result of an element                  |
  # | of a consumer, its stream suspended | links, messages or permits that a halt leaves |
  # | of a consumer, two streams zipped   | the same, after the other stream has raised   |
  # | of a consumer, at each result       | a result that is lost                         |
  # | of a consumer, before its stream    | foreign `$callers` in its tasks               |
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2, eventually: 1]
  import ExUnit.CaptureLog

  alias Penstock.Pool
  alias Penstock.Task, as: Bounded

  defp erase, do: :erlang.erase()
  defp never, do: receive(do: (:never -> :ok))

  # Returns functions that change the dictionary in ways in which user code can change it.
  defp disturbances do
    [
      fn -> Process.delete(:"$callers") end,
      fn -> Process.put(:"$callers", :foreign) end,
      fn -> Process.put(:"$callers", [:a | :b]) end,
      fn -> Process.put(:"$ancestors", %{}) end,
      fn -> for {key, _value} <- Process.get(), do: Process.put(key, make_ref()) end,
      fn -> erase() end
    ]
  end

  describe "a task whose function disturbs its dictionary" do
    test "ends with the reason of its own failure" do
      pool = Pool.new(limit: 1)

      for disturb <- disturbances(),
          {fail, seen} <- [
            {fn -> exit(:boom) end, &match?(:boom, &1)},
            {fn -> raise "boom" end, &match?({%RuntimeError{message: "boom"}, [_ | _]}, &1)},
            {fn -> throw(:boom) end, &match?({{:nocatch, :boom}, [_ | _]}, &1)},
            {fn -> exit(:normal) end, &match?(:normal, &1)},
            {fn -> exit({:shutdown, :boom}) end, &match?({:shutdown, :boom}, &1)}
          ],
          start <- [&Bounded.start/2, &async_unlinked/2] do
        me = self()

        capture_log(fn ->
          {:ok, task} =
            start.(pool, fn ->
              receive do: (:go -> :ok)
              disturb.()
              send(me, :disturbed)
              fail.()
            end)

          monitor = Process.monitor(task)
          send(task, :go)
          assert_receive :disturbed
          assert_receive {:DOWN, ^monitor, :process, ^task, reason}
          assert seen.(reason), inspect(reason)
        end)

        assert all_back(pool, 1) == {0, 0, 0}
      end
    end

    test "is logged once, with its starter and its error" do
      pool = Pool.new(limit: 1)

      log =
        capture_log(fn ->
          {:ok, task} =
            Bounded.start(pool, fn ->
              receive do: (:go -> :ok)
              erase()
              raise "told of the erased"
            end)

          monitor = Process.monitor(task)
          send(task, :go)
          assert_receive {:DOWN, ^monitor, :process, ^task, _reason}
        end)

      assert log =~ "started from #{inspect(self())}"
      assert log =~ "told of the erased"
      refute log =~ "badmatch"
    end

    test "returns its permit before the caller gets its value" do
      pool = Pool.new(limit: 1)

      for disturb <- disturbances() do
        {:ok, task} =
          Bounded.async(pool, fn ->
            disturb.()
            :value
          end)

        assert Task.await(task) == :value
        assert Pool.try_acquire(pool) == :ok
        :ok = Pool.release(pool)
      end
    end

    test "is killed when its :max_runtime is over" do
      pool = Pool.new(limit: 1)

      {:ok, task} =
        Bounded.start(
          pool,
          fn ->
            erase()
            never()
          end,
          max_runtime: 20
        )

      monitor = Process.monitor(task)
      assert_receive {:DOWN, ^monitor, :process, ^task, reason} when reason in [:killed, :noproc]
      assert all_back(pool, 1) == {0, 0, 0}
    end

    test "gives its stream the same result" do
      pool = Pool.new(limit: 2)

      for disturb <- disturbances() do
        fun = fn x ->
          disturb.()
          if x == 2, do: exit(:boom), else: x
        end

        Process.flag(:trap_exit, true)

        capture_log(fn ->
          stream = Bounded.async_stream(pool, 1..3, fun, max_concurrency: 1)
          assert Enum.to_list(stream) == [ok: 1, exit: :boom, ok: 3]
        end)

        assert all_back(pool, 2) == {0, 0, 0}
      end
    end
  end

  defp async_unlinked(pool, fun) do
    {:ok, task} = Bounded.async(pool, fun)
    Process.unlink(task.pid)
    Process.demonitor(task.ref, [:flush])
    {:ok, task.pid}
  end

  # Suspends a stream after its first result. Returns the continuation of the stream. By default,
  # two tasks of the stream run without end.
  defp suspended(pool, fun \\ fn x -> if x == 1, do: x, else: never() end) do
    stream = Bounded.async_stream(pool, 1..100, fun, max_concurrency: 3, timeout: :infinity)
    {:suspended, [{:ok, 1}], next} = Enumerable.reduce(stream, {:cont, []}, &{:suspend, [&1 | &2]})
    next
  end

  # Runs `fun` in a new process, the consumer. Returns the consumer's exit reason.
  defp ends(fun) do
    {consumer, monitor} = spawn_monitor(fn -> exit({:said, fun.()}) end)
    assert_receive {:DOWN, ^monitor, :process, ^consumer, reason}
    reason
  end

  # Returns the links, monitors and messages of the consumer, which a stream must leave as before.
  defp left, do: Process.info(self(), [:links, :monitors, :messages])

  describe "a suspended stream whose consumer disturbs its dictionary" do
    test "leaves nothing when it is halted" do
      pool = Pool.new(limit: 3)

      for disturb <- disturbances() do
        said =
          ends(fn ->
            before = left()
            next = suspended(pool)
            disturb.()
            result = next.({:halt, :enough})
            {result, left() == before}
          end)

        assert said == {:said, {{:halted, :enough}, true}}
        assert all_back(pool, 3) == {0, 0, 0}
      end
    end

    test "goes on with the next element" do
      pool = Pool.new(limit: 3)

      said =
        ends(fn ->
          next = suspended(pool, & &1)
          erase()
          {:suspended, seen, next} = next.({:cont, []})
          erase()
          {:halted, :over} = next.({:halt, :over})
          seen
        end)

      assert said == {:said, [ok: 2]}
      assert all_back(pool, 3) == {0, 0, 0}
    end

    test "leaves nothing when it is halted by an older continuation" do
      pool = Pool.new(limit: 3)

      said =
        ends(fn ->
          before = left()
          first = suspended(pool, fn x -> if x in [1, 2], do: x, else: never() end)
          {:suspended, [{:ok, 2}], _newer} = first.({:cont, []})
          erase()
          {first.({:halt, :enough}), left() == before}
        end)

      assert said == {:said, {{:halted, :enough}, true}}
      assert all_back(pool, 3) == {0, 0, 0}
    end

    test "leaves nothing when it is halted, although its consumer has read the messages of the stream" do
      pool = Pool.new(limit: 3)
      me = self()

      {consumer, monitor} =
        spawn_monitor(fn ->
          fun = fn x ->
            if x == 2, do: send(me, {:second, self()})
            if x == 1, do: x, else: never()
          end

          Process.flag(:trap_exit, true)
          next = suspended(pool, fun)
          receive do: (:second_is_dead -> :ok)
          read = read_all()
          exit({:said, next.({:halt, :enough}), read > 0, left()[:messages]})
        end)

      assert_receive {:second, task}
      second = Process.monitor(task)
      Process.exit(task, :shutdown)
      assert_receive {:DOWN, ^second, :process, ^task, :shutdown}
      # When the task dies, its monitors fire one after the other. The consumer's monitor may fire
      # after the test's. So the test waits until the consumer has a message.
      eventually(fn -> match?({:messages, [_ | _]}, Process.info(consumer, :messages)) end)
      send(consumer, :second_is_dead)
      assert_receive {:DOWN, ^monitor, :process, ^consumer, said}
      assert said == {:said, {:halted, :enough}, true, []}
      assert all_back(pool, 3) == {0, 0, 0}
    end
  end

  defp read_all do
    receive do
      _any -> 1 + read_all()
    after
      0 -> 0
    end
  end

  test "streams that are zipped, and closed when one of them raises, leave nothing" do
    pool = Pool.new(limit: 10)

    for disturb <- disturbances(), zip <- [&Stream.zip([&1, &2]), &Stream.zip([&2, &1])] do
      said =
        ends(fn ->
          before = left()
          stream = Bounded.async_stream(pool, 1..20, fn x -> if x < 5, do: x, else: never() end, max_concurrency: 4)
          other = Stream.map(1..20, fn x -> if x == 3, do: raise("no third"), else: x end)

          try do
            stream |> zip.(other) |> Enum.each(fn _ -> disturb.() end)
          rescue
            error -> {Exception.message(error), left() == before}
          end
        end)

      assert said == {:said, {"no third", true}}
      assert all_back(pool, 10) == {0, 0, 0}
    end
  end

  test "a consumer that erases its dictionary at each result gets all results" do
    pool = Pool.new(limit: 3)

    said =
      ends(fn ->
        pool
        |> Bounded.async_stream(1..50, & &1, max_concurrency: 4)
        |> Enum.map(fn {:ok, x} ->
          erase()
          x
        end)
      end)

    assert said == {:said, Enum.to_list(1..50)}
    assert all_back(pool, 3) == {0, 0, 0}
  end

  test "tasks of a consumer with foreign $callers have the consumer as their only caller" do
    pool = Pool.new(limit: 1)

    for foreign <- [:foreign, nil, [], %{}] do
      said =
        ends(fn ->
          Process.put(:"$callers", foreign)
          [ok: callers] = pool |> Bounded.async_stream([1], fn _ -> Process.get(:"$callers") end) |> Enum.to_list()
          callers == [self()]
        end)

      assert said == {:said, true}
    end
  end
end
