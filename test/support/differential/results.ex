defmodule Penstock.Differential.Results do
  # Scenarios that return values; see `Penstock.Differential`.
  @moduledoc false

  import Penstock.Differential.Pieces

  def scenarios, do: values() ++ enumerables() ++ halts()

  ## Values and their order

  defp values do
    [
      {"a list", [], &Enum.to_list(&1.stream.(1..20, double(), []))},
      {"an empty list", [], &Enum.to_list(&1.stream.([], double(), []))},
      {"one element", [], &Enum.to_list(&1.stream.([1], double(), []))},
      {"one task at a time", [], &Enum.to_list(&1.stream.(1..10, double(), max_concurrency: 1))},
      {"more tasks than elements", [], &Enum.to_list(&1.stream.(1..3, double(), max_concurrency: 50))},
      {"the slowest first, in order", [], &Enum.to_list(&1.stream.([60, 30, 0], sleep(), max_concurrency: 3))},
      {"the slowest first, unordered", [],
       fn t -> Enum.to_list(t.stream.([3, 2, 1], one_by_one(), max_concurrency: 3, ordered: false)) end},
      {"one task at a time, unordered", [],
       &Enum.to_list(&1.stream.([20, 10, 0], sleep(), max_concurrency: 1, ordered: false))},
      {"module, function and arguments", [], &Enum.to_list(&1.stream.([1, 2], {Integer, :to_string, [2]}, []))},
      {"no timeout", [], &Enum.to_list(&1.stream.(1..3, double(), timeout: :infinity))},
      {"values that look like results", [],
       &Enum.to_list(&1.stream.([{:exit, 1}, {:ok, 2}, :down, {:done, 3}], fn x -> x end, []))},
      {"a large value", [],
       fn t ->
         t.stream.(1..3, fn n -> Enum.to_list(1..(n * 10_000)) end, []) |> Enum.map(fn {:ok, l} -> length(l) end)
       end},
      {"elements of any kind", [], &Enum.to_list(&1.stream.([nil, false, [], {}, %{}, self()], fn x -> x end, []))}
    ]
  end

  ## Kinds of enumerables

  defp enumerables do
    [
      {"a map", [], &Enum.sort(&1.stream.(%{a: 1, b: 2}, fn pair -> pair end, []))},
      {"a set", [], &Enum.sort(&1.stream.(MapSet.new([3, 1, 2]), double(), []))},
      {"a lazy stream", [], fn t -> 1..5 |> Stream.map(&(&1 + 1)) |> t.stream.(double(), []) |> Enum.to_list() end},
      {"an infinite stream", [], fn t -> 1 |> Stream.iterate(&(&1 + 1)) |> t.stream.(double(), []) |> Enum.take(7) end},
      {"a resource", [], fn t -> t |> resource(1..4) |> t.stream.(double(), max_concurrency: 2) |> Enum.to_list() end},
      {"a resource, halted", [],
       fn t -> t |> resource(1..9) |> t.stream.(double(), max_concurrency: 2) |> Enum.take(2) end},
      {"a stream of tasks over a stream of tasks", [],
       fn t -> 1..6 |> t.stream.(double(), []) |> t.stream.(fn {:ok, x} -> x + 1 end, []) |> Enum.to_list() end},
      {"streams inside of tasks", [],
       fn t -> t.stream.(1..3, fn n -> Enum.to_list(t.stream.(1..n, double(), [])) end, []) |> Enum.to_list() end},
      {"elements that the stream pulls ahead", [], fn t -> pulls(t, max_concurrency: 3) end},
      {"elements that the stream pulls ahead, unordered", [], fn t -> pulls(t, max_concurrency: 3, ordered: false) end},
      {"an enumerable that raises", [], fn t -> t |> failing(fn -> raise "no more" end) |> Enum.to_list() end},
      {"an enumerable that throws", [], fn t -> t |> failing(fn -> throw(:no_more) end) |> Enum.to_list() end},
      {"an enumerable that exits", [], fn t -> t |> failing(fn -> exit(:no_more) end) |> Enum.to_list() end},
      {"an enumerable that raises at once", [],
       fn t -> Stream.map([1], fn _ -> raise "none" end) |> t.stream.(double(), []) |> Enum.to_list() end},
      {"not an enumerable", [], &Enum.to_list(&1.stream.(5, double(), []))},
      {"an improper list", [], &Enum.to_list(&1.stream.([1, 2 | 3], double(), max_concurrency: 1))},
      {"a stream that is used twice", [],
       fn t ->
         stream = t.stream.(1..3, double(), [])
         {Enum.to_list(stream), Enum.to_list(stream)}
       end}
    ]
  end

  ## Consumers that stop early

  defp halts do
    [
      {"take", [], fn t -> 1..100 |> t.stream.(double(), []) |> Enum.take(5) end},
      {"take nothing", [], fn t -> 1..100 |> t.stream.(double(), []) |> Enum.take(0) end},
      {"take, while the other tasks never end", [],
       fn t -> t.stream.(1..8, first_only(t), max_concurrency: 4) |> Enum.take(1) end},
      {"take, while the other tasks trap exits and never end", [],
       fn t -> t.stream.(1..8, first_only(t, true), max_concurrency: 4) |> Enum.take(1) end},
      {"reduce_while", [],
       fn t ->
         Enum.reduce_while(t.stream.(1..50, double(), []), 0, fn {:ok, x}, acc ->
           if x > 20, do: {:halt, acc}, else: {:cont, acc + x}
         end)
       end},
      {"find", [], fn t -> 1..50 |> t.stream.(double(), []) |> Enum.find(&(&1 == {:ok, 12})) end},
      {"a consumer that raises", [], fn t -> each(t, fn _ -> raise "enough" end) end},
      {"a consumer that throws", [], fn t -> each(t, fn _ -> throw(:enough) end) end},
      {"a consumer that exits", [], fn t -> each(t, fn _ -> exit(:enough) end) end},
      {"a consumer that raises, of an unordered stream", [],
       fn t -> each(t, fn _ -> raise "enough" end, ordered: false) end},
      {"a consumer that raises over a resource", [],
       fn t ->
         t |> resource(1..9) |> t.stream.(double(), max_concurrency: 1) |> Enum.each(fn _ -> raise "enough" end)
       end},
      {"Stream.run", [], fn t -> 1..5 |> t.stream.(fn x -> t.note.(x) end, max_concurrency: 1) |> Stream.run() end}
    ]
  end
end
