defmodule Penstock.Task.ComposedStreamsTest do
  # Tests streams of tasks whose enumerable is itself made of streams. They must give the results
  # that `Enum` gives. A stream of tasks suspends its enumerable after each element. Some
  # enumerables go on nevertheless (they undo the pause), and return several elements in one step.
  #
  # | scenario                                | rules out                                        |
  # |-----------------------------------------|--------------------------------------------------|
  # | each shape, read to its end             | an element that is lost, doubled or out of order |
  # | each shape, halted early                | a link, monitor or permit that the halt leaves   |
  # | each shape, suspended at each element   | a suspension that loses its place                |
  # | a resource behind an undone pause       | a resource that is closed twice, or not at all   |
  # | an old continuation, halted at the end  | a resource that the halt closes again            |
  # | several elements in one step, no permit | an element that stays after a refusal            |
  # | an endless stream that never pauses     | memory that fills without a message              |
  use ExUnit.Case, async: true

  alias Penstock.Pool
  alias Penstock.Task, as: Bounded

  defp three, do: Stream.take(1..9, 3)

  # Returns a stream of the list. When the stream is closed, it sends `:closed` to the test.
  defp resource(list) do
    me = self()

    Stream.resource(
      fn -> list end,
      fn
        [] -> {:halt, []}
        [x | rest] -> {[x], rest}
      end,
      fn _ -> send(me, :closed) end
    )
  end

  # Returns {name, a function that makes a finite stream} for each shape.
  defp shapes do
    [
      {"take, and take", fn -> Stream.concat(three(), three()) end},
      {"concat of three takes", fn -> Stream.concat([three(), Stream.take(4..9, 1), three()]) end},
      {"concat that ends in a list", fn -> Stream.concat(three(), [7, 8]) end},
      {"concat that begins with an empty take", fn -> Stream.concat(Stream.take(1..9, 0), three()) end},
      {"flat_map to a take", fn -> Stream.flat_map(1..6, &Stream.take(&1..(&1 + 5), 2)) end},
      {"flat_map to a take of one", fn -> Stream.flat_map(1..50, &Stream.take([&1], 1)) end},
      {"flat_map to lists", fn -> Stream.flat_map(1..6, &List.duplicate(&1, &1)) end},
      {"flat_map to take_while", fn -> Stream.flat_map(1..6, fn x -> Stream.take_while(1..9, &(&1 <= x)) end) end},
      {"flat_map of flat_map of take",
       fn -> Stream.flat_map(1..4, fn x -> Stream.flat_map(1..x, &Stream.take([x, &1], 2)) end) end},
      {"transform to takes", fn -> Stream.transform(1..5, 0, &{Stream.take([&1, &2], 2), &2 + &1}) end},
      {"transform that halts",
       fn ->
         Stream.transform(1..9, 0, fn x, n -> if n < 4, do: {Stream.take([x], 1), n + 1}, else: {:halt, n} end)
       end},
      {"cycle of a take, cut", fn -> three() |> Stream.cycle() |> Stream.take(10) end},
      {"cycle, cut inside of concat", fn -> Stream.concat(Stream.take(Stream.cycle([1, 2]), 5), three()) end},
      {"chunks of takes", fn -> Stream.concat(three(), three()) |> Stream.chunk_every(2) end},
      {"chunks by a change", fn -> [three(), three()] |> Stream.concat() |> Stream.chunk_by(&(&1 > 2)) end},
      {"a take of a resource, twice", fn -> Stream.concat(Stream.take(resource([1, 2, 3]), 2), resource([4])) end},
      {"a resource of takes", fn -> resource([three(), three()]) |> Stream.flat_map(& &1) end},
      {"zip of takes", fn -> Stream.zip([Stream.concat([1], [2, 3]), Stream.concat([4], [5])]) end},
      {"zip inside of concat", fn -> Stream.concat(Stream.zip(three(), three()), Stream.zip(1..2, three())) end},
      {"with_index, dedup, uniq and scan of takes",
       fn -> [three(), three()] |> Stream.concat() |> Stream.uniq() |> Stream.scan(&+/2) |> Stream.with_index() end},
      {"drop, drop_every and reject of takes",
       fn -> Stream.concat(three(), three()) |> Stream.drop(1) |> Stream.drop_every(3) |> Stream.reject(&(&1 == 2)) end},
      {"intersperse of takes", fn -> Stream.concat(three(), three()) |> Stream.intersperse(0) end},
      {"unfold, cut, and iterate, cut",
       fn ->
         Stream.concat(Stream.unfold(3, &if(&1 > 0, do: {&1, &1 - 1})), Stream.take(Stream.iterate(1, &(&1 * 2)), 4))
       end},
      {"for over takes", fn -> for(x <- 1..3, do: Stream.take(x..9, 2)) |> Stream.concat() end},
      {"a stream of tasks of takes",
       fn -> Bounded.async_stream(Pool.new(limit: 5), Stream.concat(three(), three()), & &1) end}
    ]
  end

  defp gives(shape, options) do
    pool = Pool.new(limit: 100)
    results = pool |> Bounded.async_stream(shape.(), & &1, options) |> Enum.to_list()
    %{in_use: in_use, waiting: 0} = Pool.info(pool)
    {results, in_use}
  end

  test "at least fifteen shapes give the results of Enum, ordered and unordered" do
    shapes = shapes()
    assert length(Enum.uniq_by(shapes, &elem(&1, 0))) >= 15

    for {name, shape} <- shapes, concurrency <- [1, 2, 50] do
      expected = for x <- Enum.to_list(shape.()), do: {:ok, x}
      assert {name, gives(shape, max_concurrency: concurrency)} == {name, {expected, 0}}
      {seen, 0} = gives(shape, max_concurrency: concurrency, ordered: false)
      assert {name, Enum.sort(seen)} == {name, Enum.sort(expected)}
    end
  end

  test "each shape that is halted early gives its first results, and leaves nothing" do
    for {name, shape} <- shapes(), n <- [1, 2, 4] do
      pool = Pool.new(limit: 100)
      expected = for x <- Enum.take(shape.(), n), do: {:ok, x}
      before = Process.info(self(), [:links, :monitors])
      taken = pool |> Bounded.async_stream(shape.(), & &1, max_concurrency: 3) |> Enum.take(n)
      assert {name, taken} == {name, expected}
      assert {name, Process.info(self(), [:links, :monitors])} == {name, before}
      assert %{in_use: 0, waiting: 0} = Pool.info(pool)
    end
  end

  test "each shape goes on after each suspension" do
    for {name, shape} <- shapes() do
      pool = Pool.new(limit: 100)
      expected = for x <- Enum.to_list(shape.()), do: {:ok, x}
      stream = Bounded.async_stream(pool, shape.(), & &1, max_concurrency: 2)
      assert {name, one_by_one(Enumerable.reduce(stream, {:suspend, nil}, &{:suspend, {&1, &2}}))} == {name, expected}
    end
  end

  defp one_by_one({:suspended, nil, next}), do: one_by_one(next.({:cont, nil}))
  defp one_by_one({:suspended, {x, nil}, next}), do: [x | one_by_one(next.({:cont, nil}))]
  defp one_by_one({:done, nil}), do: []

  test "a resource behind a pause that was undone is closed once" do
    pool = Pool.new(limit: 100)
    shape = fn -> Stream.concat(Stream.take(resource([1, 2, 3]), 1), three()) end

    for consume <- [&Enum.to_list/1, &Enum.take(&1, 1), &Enum.take(&1, 3)] do
      consume.(Bounded.async_stream(pool, shape.(), & &1, max_concurrency: 1))
      assert_received :closed
      refute_received :closed
    end
  end

  test "a resource that has ended is closed once, although an older continuation is halted later" do
    for elements <- [fn -> resource([1, 2, 3]) end, fn -> Stream.concat(resource([1, 2]), Stream.take([3, 4], 2)) end],
        zip <- [&Stream.zip([&1, &2]), &Stream.zip([&2, &1])] do
      pool = Pool.new(limit: 100)
      stream = Bounded.async_stream(pool, elements.(), & &1, max_concurrency: 2)
      other = Stream.map(1..9, fn x -> if x == 3, do: raise("no third"), else: x end)
      assert_raise RuntimeError, "no third", fn -> stream |> zip.(other) |> Stream.run() end
      assert_received :closed
      refute_received :closed
      assert %{in_use: 0, waiting: 0} = Pool.info(pool)
    end
  end

  test "elements of one step wait for permits, and are dropped when the stream is refused" do
    pool = Pool.new(limit: 1)
    :ok = Pool.acquire(pool)
    stream = Bounded.async_stream(pool, Stream.flat_map(1..5, &Stream.take([&1], 1)), & &1, acquire_timeout: 10)
    assert_raise Penstock.RejectedError, fn -> Enum.to_list(stream) end
    :ok = Pool.release(pool)
    assert Enum.to_list(stream) == for(x <- 1..5, do: {:ok, x})
  end

  test "an endless stream that never pauses raises before it fills the memory" do
    pool = Pool.new(limit: 2)
    # Before Elixir 1.20, `Stream.take/2` inside of a `Stream.flat_map/2` undoes pauses. This
    # enumerable undoes pauses in each version.
    endless = &undo_pauses/2

    message =
      "expected the enumerable to pause after each element (a stream inside of it, such as one of Stream.take/2, " <>
        "may undo pauses), got: 1000000 elements and no pause"

    before = Process.info(self(), [:links, :monitors])
    assert_raise ArgumentError, message, fn -> pool |> Bounded.async_stream(endless, & &1) |> Enum.take(1) end
    assert Process.info(self(), [:links, :monitors]) == before
    assert %{in_use: 0} = Pool.info(pool)
  end

  defp undo_pauses({:halt, acc}, _reducer), do: {:halted, acc}
  defp undo_pauses({_cont_or_suspend, acc}, reducer), do: undo_pauses(reducer.(1, acc), reducer)
end
