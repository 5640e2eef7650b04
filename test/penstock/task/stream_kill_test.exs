defmodule Penstock.Task.StreamKillTest do
  # Tests streams of which a consumer, a task or the stream monitor dies at any instant. The tests
  # find the stream monitor as the first of the `$ancestors` of each task.
  #
  # | the process that dies               | rules out                                      |
  # |-------------------------------------|------------------------------------------------|
  # | a task that undid its link          | a consumer that dies too, or waits without end |
  # | the consumer, at any instant        | a task or a permit that outlives the consumer  |
  # | the consumer, as its stream begins  | a task that traps exits and lives on           |
  # | the consumer, as its stream closes  | the same                                       |
  # | every second task, at any instant   | a lost permit; an element without one result   |
  # | the stream monitor                  | a consumer or tasks that outlive it            |
  # | none: the enumerable fails to close | tasks, links and permits that stay             |
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2]

  alias Penstock.Pool
  alias Penstock.Task, as: Bounded

  defp never, do: receive(do: (:never -> :ok))

  test "a task that undid its link fails alone" do
    pool = Pool.new(limit: 1)

    fun = fn x ->
      Process.unlink(hd(Process.get(:"$ancestors")))
      if x == 1, do: exit(:boom), else: x
    end

    assert pool |> Bounded.async_stream([1, 2], fun) |> Enum.to_list() == [exit: :boom, ok: 2]
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
      assert_receive {:DOWN, ^monitor, :process, ^consumer, _reason}
    end

    assert all_back(pool, 5) == {0, 0, 0}
  end

  test "a consumer killed as its stream begins or closes leaves no task that traps exits" do
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

  test "a killed monitor takes the consumer and all tasks with it" do
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

      tasks = for _ <- 1..3, do: assert_receive({:runs, _task, _monitor})
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
end
