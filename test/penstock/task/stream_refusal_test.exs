defmodule Penstock.Task.StreamRefusalTest do
  # Tests streams that a pool refuses, and streams with wrong arguments.
  use ExUnit.Case, async: true
  import Penstock.PoolCase, only: [all_back: 2, eventually: 1]

  alias Penstock.{Pool, RejectedError}
  alias Penstock.Task, as: Bounded

  defp never, do: receive(do: (:never -> :ok))

  describe "a refusal" do
    test "by acquire_timeout raises, kills the running tasks, and closes the enumerable" do
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

    test "by a full queue raises" do
      pool = Pool.new(limit: 1, max_waiting: 0)
      :ok = Pool.acquire(pool)
      stream = Bounded.async_stream(pool, [1], & &1)
      assert assert_raise(RejectedError, fn -> Enum.to_list(stream) end).reason == :queue_full
    end

    test "by a pool that is drained or closed while the stream runs raises :closed" do
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

    test "does not come because the consumer takes long for an element" do
      pool = Pool.new(limit: 1)

      # The consumer takes 1,200 ms for an element, which is longer than the acquire_timeout of
      # 1,000 ms. That time must not count as a wait for the permit of the next element.
      results =
        pool
        |> Bounded.async_stream(1..4, & &1, max_concurrency: 2, acquire_timeout: 1_000)
        |> Enum.map(fn {:ok, x} = result ->
          receive(do: (:never -> :ok), after: (if(x < 3, do: 1_200, else: 0) -> result))
        end)

      assert results == for(x <- 1..4, do: {:ok, x})
    end
  end

  describe "bad input" do
    test "raises an ArgumentError that names the argument, and pulls no element" do
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

    test "includes a pool that is gone when the stream is consumed" do
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
