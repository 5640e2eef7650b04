defmodule Penstock.Task.StreamTimeoutTest do
  # Tests the `:timeout` of a stream: which tasks it ends, and after which time.
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2, patience: 1]

  alias Penstock.Pool
  alias Penstock.Task, as: Bounded

  defp never, do: receive(do: (:never -> :ok))

  describe "the timeout of a task" do
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
      # One task in twenty never ends, which makes 100. A busy machine may stop some other tasks
      # for longer than 3 ms, so these time out as well.
      assert results.exit >= 100 and results.ok + results.exit == 2_000
      assert_receive {:ages, ages}
      assert length(ages) in 1..results.exit
      assert Enum.min(ages) >= 3_000
    end

    # Collects the ages of killed tasks, in µs. An age counts from the pull of the element to the
    # `:DOWN` of its task, so it is at least the age of the task at its kill. A task that is
    # killed before its first act sends no message, so its age is missing.
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

    test "also ends a task that undid its link" do
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

    test "ends no other process that links to the stream monitor" do
      pool = Pool.new(limit: 3)
      me = self()

      # The guest is no task of the stream, but holds a permit of the same pool, like a task.
      guest = fn monitor ->
        spawn(fn ->
          :ok = Pool.acquire(pool)
          Process.link(monitor)
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

    test "runs on, and does not begin again, when the pool closes" do
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
          |> Bounded.async_stream([1, 2], fun, timeout: patience(3_000), on_timeout: :kill_task, max_concurrency: 2)
          |> Enum.to_list()
        end)

      for _ <- 1..2, do: assert_receive(:runs)
      started = System.monotonic_time(:millisecond)
      receive after: (patience(2_000) -> :ok)
      Process.unlink(owner)
      GenServer.stop(owner)
      assert Task.await(consumer, patience(10_000)) == [exit: :timeout, exit: :timeout]
      # If the 3,000 ms had begun again at the close, the tasks would end after 5,000 ms.
      assert System.monotonic_time(:millisecond) - started < patience(4_500)
    end

    test "costs the stream monitor few reductions while no task runs" do
      pool = Pool.new(limit: 1)
      stream = Bounded.async_stream(pool, 1..2, & &1, timeout: 1)
      {:suspended, {:ok, 1}, next} = Enumerable.reduce(stream, {:cont, nil}, fn x, _ -> {:suspend, x} end)
      {:links, links} = Process.info(self(), :links)
      [monitor] = for pid <- links, is_pid(pid), do: pid
      {:reductions, before} = Process.info(monitor, :reductions)
      receive after: (200 -> :ok)
      {:reductions, later} = Process.info(monitor, :reductions)
      # Each time that the stream monitor looks for late tasks, it takes some 30 reductions. While
      # no task runs, it looks only each 50 ms, although the timeout is 1 ms.
      assert later - before < 1_000
      assert next.({:halt, :enough}) == {:halted, :enough}
      refute_received _
    end
  end

  test "late tasks are killed although another pool has got the name" do
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
end
