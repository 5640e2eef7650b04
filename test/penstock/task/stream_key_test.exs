defmodule Penstock.Task.StreamKeyTest do
  # The options `:key` and `:cost` of a stream can be functions. The consumer calls them with each
  # element.
  use ExUnit.Case, async: true

  alias Penstock.{Ban, Pool, RateLimiter, RejectedError}
  alias Penstock.Task, as: Bounded

  defp unique_name, do: Module.concat(__MODULE__, "Gate#{System.unique_integer([:positive])}")

  # Starts a limiter whose clock stands still, so that no charge expires. Returns its name.
  defp limiter(opts) do
    name = unique_name()
    start_supervised!({RateLimiter, [name: name, per: 60_000, clock: :manual] ++ opts}, id: name)
    name
  end

  # Returns the number of hits of the burst that a key has used.
  defp used(limiter, key, burst) do
    case RateLimiter.peek(limiter, key) do
      {:allow, remaining} -> burst - 1 - remaining
      {:deny, _ms} -> burst
    end
  end

  test "each element is charged to its own key" do
    limiter = limiter(limit: 10)
    elements = for host <- ["a", "b"], n <- 1..3, do: %{host: host, n: n}
    stream = Bounded.async_stream(limiter, elements, & &1.n, key: & &1.host)
    assert Enum.to_list(stream) == for(%{n: n} <- elements, do: {:ok, n})
    assert {used(limiter, "a", 10), used(limiter, "b", 10), used(limiter, :global, 10)} == {3, 3, 0}
  end

  test "each element has its own cost, with a common key or its own key" do
    limiter = limiter(limit: 20)
    [ok: 1, ok: 2, ok: 3] = limiter |> Bounded.async_stream(1..3, & &1, key: :all, cost: & &1) |> Enum.to_list()
    assert used(limiter, :all, 20) == 6
    [ok: 4, ok: 5] = limiter |> Bounded.async_stream([4, 5], & &1, cost: & &1, key: &{:n, &1}) |> Enum.to_list()
    assert {used(limiter, {:n, 4}, 20), used(limiter, {:n, 5}, 20)} == {4, 5}
    [ok: 6] = limiter |> Bounded.async_stream([6], & &1, cost: & &1) |> Enum.to_list()
    assert used(limiter, :global, 20) == 6
    [ok: 7] = limiter |> Bounded.async_stream([7], & &1, cost: 2, key: & &1) |> Enum.to_list()
    assert used(limiter, 7, 20) == 2
  end

  test "the consumer calls each function once for each element" do
    # A turn comes each 10 ms, so the consumer waits for a turn between two elements. The wait
    # must not lead to a second call.
    name = unique_name()
    start_supervised!({RateLimiter, name: name, limit: 100, per: 1_000, burst: 1})
    me = self()

    key = fn x ->
      send(me, {:key, x, self()})
      :same
    end

    cost = fn x ->
      send(me, {:cost, x, self()})
      1
    end

    assert name |> Bounded.async_stream(1..4, & &1, key: key, cost: cost) |> Enum.count() == 4

    for x <- 1..4, what <- [:key, :cost] do
      assert_received {^what, ^x, ^me}
      refute_received {^what, ^x, _pid}
    end
  end

  test "a ban checks the key of each element" do
    ban = unique_name()
    start_supervised!({Ban, name: ban, failures: 5, within: 60_000, ban_for: 60_000})
    :ok = Ban.ban(ban, "bad", 60_000)
    stream = Bounded.async_stream(ban, ["good", "bad", "good"], & &1, key: & &1, max_concurrency: 1)
    error = assert_raise RejectedError, fn -> Enum.to_list(stream) end
    assert {:banned, ms} = error.reason
    assert ms in 1..60_000
    assert ban |> Bounded.async_stream(["good"], & &1, key: & &1) |> Enum.to_list() == [ok: "good"]
  end

  test "a stream of a pool calls neither :key nor :cost" do
    pool = Pool.new(limit: 2)
    stream = Bounded.async_stream(pool, 1..3, & &1, key: fn _ -> flunk("called") end, cost: fn _ -> 0 end)
    assert Enum.to_list(stream) == [ok: 1, ok: 2, ok: 3]
  end

  describe "a function as :key or :cost" do
    test "that fails ends the stream like an enumerable that raises: tasks are killed, the enumerable is closed" do
      limiter = limiter(limit: 100)
      me = self()
      elements = Stream.resource(fn -> 1 end, &{[&1], &1 + 1}, fn _ -> send(me, :closed) end)

      fun = fn _ ->
        send(me, {:runs, self()})
        receive do: (:never -> :ok)
      end

      before = Process.info(self(), [:links, :monitors])

      for {fail, expected} <- [
            {fn -> raise "no key" end, {:error, %RuntimeError{message: "no key"}}},
            {fn -> throw(:no_key) end, {:throw, :no_key}},
            {fn -> exit(:no_key) end, {:exit, :no_key}}
          ],
          option <- [:key, :cost] do
        by = fn x -> if x == 3, do: fail.(), else: x end

        caught =
          try do
            limiter |> Bounded.async_stream(elements, fun, [{option, by}, {:max_concurrency, 5}]) |> Stream.run()
          catch
            kind, reason -> {kind, reason}
          end

        assert caught == expected
        for _ <- 1..2, do: assert_ended()
        assert_received :closed
        assert Process.info(self(), [:links, :monitors]) == before
        refute_received _
      end
    end

    # Asserts that the task that sent the next message is dead. Passes if there is no message,
    # because a task that was killed before its first act has sent none.
    defp assert_ended do
      receive do
        {:runs, task} -> refute Process.alive?(task)
      after
        0 -> :ok
      end
    end

    test "that returns nil, a wrong cost or a key that is too large makes the stream raise, and leaves nothing" do
      limiter = limiter(limit: 100)
      before = Process.info(self(), [:links, :monitors])
      me = self()
      elements = Stream.resource(fn -> 1 end, &{[&1], &1 + 1}, fn _ -> send(me, :closed) end)

      for {options, message} <- [
            {[key: fn _ -> nil end],
             "expected :key to be a term other than nil (of callers that are not known, say :anonymous), got: nil"},
            {[cost: fn _ -> 0 end], "expected :cost to be an integer between 1 and 2147483647, got: 0"},
            {[cost: fn _ -> nil end], "expected :cost to be an integer between 1 and 2147483647, got: nil"},
            {[cost: fn _ -> 1.5 end, key: & &1], "expected :cost to be an integer between 1 and 2147483647, got: 1.5"},
            {[key: fn _ -> String.duplicate("k", 2_000) end], "expected key to be of at most 1024 bytes"},
            {[key: fn _ -> {:user, String.duplicate("k", 2_000)} end], "expected key to be of at most 1024 bytes"},
            {[key: fn _ -> Enum.to_list(1..2_000) end], "expected key to be of at most 1024 bytes"}
          ],
          list? <- [true, false] do
        elements = if list?, do: Enum.to_list(1..9), else: elements
        stream = Bounded.async_stream(limiter, elements, & &1, options)
        error = assert_raise ArgumentError, fn -> Enum.to_list(stream) end
        assert error.message =~ message
        unless list?, do: assert_received(:closed)
        assert Process.info(self(), [:links, :monitors]) == before
        refute_received _
      end
    end

    test "of another arity than 1 is an ordinary key as :key, and a wrong value as :cost" do
      limiter = limiter(limit: 100)
      key = fn -> :key end
      assert limiter |> Bounded.async_stream([1], & &1, key: key) |> Enum.to_list() == [ok: 1]
      assert used(limiter, key, 100) == 1
      message = ~r/^expected :cost to be an integer between 1 and 2147483647, got: #Function</
      assert_raise ArgumentError, message, fn -> Bounded.async_stream(limiter, [1], & &1, cost: key) end
    end

    test "is ignored if the same option comes earlier in the list" do
      limiter = limiter(limit: 100)
      assert limiter |> Bounded.async_stream([1], & &1, key: :a, key: fn _ -> :b end) |> Enum.to_list() == [ok: 1]
      assert limiter |> Bounded.async_stream([1], & &1, key: fn _ -> :c end, key: nil) |> Enum.to_list() == [ok: 1]
      assert {used(limiter, :a, 100), used(limiter, :b, 100), used(limiter, :c, 100)} == {1, 0, 1}
    end
  end

  test "a cost above the burst ends the stream with a refusal" do
    limiter = limiter(limit: 3)
    stream = Bounded.async_stream(limiter, [1, 4], & &1, cost: & &1)
    assert assert_raise(RejectedError, fn -> Enum.to_list(stream) end).reason == {:rate_limited, :infinity}
  end

  test "streams of a supervisor take both functions" do
    limiter = limiter(limit: 100)
    supervisor = unique_name()
    start_supervised!({Penstock.Task.Supervisor, name: supervisor, gate: limiter})
    stream = Penstock.Task.Supervisor.async_stream(supervisor, ["x", "y", "x"], & &1, key: & &1, cost: fn _ -> 2 end)
    assert Enum.to_list(stream) == [ok: "x", ok: "y", ok: "x"]
    assert {used(limiter, "x", 100), used(limiter, "y", 100)} == {4, 2}
  end
end
