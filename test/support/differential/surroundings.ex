defmodule Penstock.Differential.Surroundings do
  # Scenarios about mailboxes, process dictionaries, links, and streams that are suspended; see
  # `Penstock.Differential`.
  @moduledoc false

  import Penstock.Differential.Pieces

  def scenarios, do: surroundings() ++ suspensions()

  ## Messages, dictionaries and links

  defp surroundings do
    [
      {"messages of other processes stay, in order", [],
       fn t ->
         for n <- 1..5, do: send(self(), {:note, n})
         result = Enum.to_list(t.stream.(1..5, double(), []))
         send(self(), :last)
         result
       end},
      {"messages that look like those of a stream", [],
       fn t ->
         send(self(), {:down, {make_ref(), 0}, :normal})
         send(self(), {:DOWN, make_ref(), :process, self(), :normal})
         send(self(), {make_ref(), :granted})
         send(self(), {{make_ref(), 0}, :value})
         send(self(), {:EXIT, self(), :normal})
         Enum.to_list(t.stream.(1..5, double(), []))
       end},
      {"messages from tasks", [],
       fn t ->
         me = self()
         t.stream.(1..4, fn x -> send(me, {:hello, x}) end, max_concurrency: 1) |> Enum.to_list()
       end},
      {"a consumer that reads other messages", [],
       fn t ->
         me = self()

         t.stream.(
           1..4,
           fn x ->
             send(me, {:hello, x})
             x
           end,
           max_concurrency: 1
         )
         |> Enum.map(fn {:ok, x} -> receive(do: ({:hello, ^x} -> x)) end)
       end},
      {"$callers", [],
       fn t ->
         me = self()
         Process.put(:"$callers", [:grandparent])
         t.stream.([1], fn _ -> Process.get(:"$callers") == [me, :grandparent] end, []) |> Enum.to_list()
       end},
      {"$callers of a consumer without callers", [],
       fn t ->
         me = self()
         t.stream.([1], fn _ -> Process.get(:"$callers") == [me] end, []) |> Enum.to_list()
       end},
      {"$ancestors", [],
       fn t ->
         me = self()

         t.stream.([1], fn _ -> {length(Process.get(:"$ancestors")), me in Process.get(:"$ancestors")} end, [])
         |> Enum.to_list()
       end},
      {"$initial_call", [], &Enum.to_list(&1.stream.([1], fn _ -> Process.get(:"$initial_call") end, []))},
      {"$initial_call of module, function and arguments", [],
       &Enum.to_list(&1.stream.([:"$initial_call"], {Process, :get, [:none]}, []))},
      {"the links of a task", [],
       &Enum.to_list(&1.stream.([1], fn _ -> length(elem(Process.info(self(), :links), 1)) end, []))},
      {"whether a task is dead when its result arrives", [],
       fn t -> t.stream.(1..6, fn _ -> self() end, []) |> Enum.map(fn {:ok, pid} -> Process.alive?(pid) end) end},
      {"whether a task is dead when its result arrives, unordered", [],
       fn t ->
         t.stream.(1..6, fn _ -> self() end, ordered: false) |> Enum.map(fn {:ok, pid} -> Process.alive?(pid) end)
       end},
      {"each task is a process", [], fn t -> t.stream.(1..20, fn _ -> self() end, []) |> Enum.uniq() |> length() end},
      {"a stream that another process consumes", [],
       fn t ->
         stream = t.stream.(1..4, double(), [])
         task = Task.async(fn -> Enum.to_list(stream) end)
         result = Task.await(task)
         # The task may end a moment after its reply, and its link to the consumer lasts until it
         # ends. The unlink makes sure that the test never observes this link.
         Process.unlink(task.pid)
         result
       end},
      {"two streams at once, by zip", [],
       fn t -> Enum.zip(t.stream.(1..5, double(), []), t.stream.(6..10, double(), [])) end},
      {"zip with a stream that raises", [], fn t -> raising_zip(t, fn s, other -> Stream.zip([s, other]) end) end},
      {"zip after a stream that raises", [], fn t -> raising_zip(t, fn s, other -> Stream.zip([other, s]) end) end},
      {"zip with a shorter range", [], fn t -> Enum.zip(t.stream.(1..50, double(), []), 1..3) end},
      {"max_concurrency of 0", [],
       &kind_of_error(fn -> &1.stream.([1], double(), max_concurrency: 0) |> Enum.to_list() end)},
      {"max_concurrency of -1", [],
       &kind_of_error(fn -> &1.stream.([1], double(), max_concurrency: -1) |> Enum.to_list() end)},
      {"max_concurrency of 1.5", [],
       &kind_of_error(fn -> &1.stream.([1], double(), max_concurrency: 1.5) |> Enum.to_list() end)}
    ]
  end

  ## Suspension

  defp suspensions do
    suspend = fn x, acc -> {:suspend, [x | acc]} end

    [
      {"suspended and resumed", [],
       fn t -> resume(Enumerable.reduce(t.stream.(1..4, double(), max_concurrency: 2), {:suspend, []}, suspend)) end},
      {"suspended and halted", [],
       fn t ->
         {:suspended, acc, next} =
           Enumerable.reduce(t.stream.(1..8, first_only(t), max_concurrency: 4), {:cont, []}, suspend)

         {acc, elem(next.({:halt, :over}), 0)}
       end},
      {"suspended at once and halted", [],
       fn t ->
         {:suspended, [], next} =
           Enumerable.reduce(t |> resource(1..3) |> t.stream.(double(), []), {:suspend, []}, suspend)

         next.({:halt, :over})
       end},
      {"halted at once", [], fn t -> Enumerable.reduce(t.stream.(1..3, double(), []), {:halt, :acc}, suspend) end},
      {"a task fails while the stream is suspended", [trap_exit: true],
       fn t ->
         {:suspended, [_], next} =
           Enumerable.reduce(
             t.stream.(
               1..3,
               fn
                 1 -> 1
                 x -> exit({:no, x})
               end,
               max_concurrency: 3
             ),
             {:cont, []},
             suspend
           )

         resume(next.({:cont, []}))
       end},
      {"chunked", [], fn t -> 1..7 |> t.stream.(double(), []) |> Stream.chunk_every(3) |> Enum.to_list() end},
      {"interleaved", [],
       fn t ->
         Stream.zip([t.stream.(1..3, double(), []), t.stream.(4..6, double(), []), [:a, :b]]) |> Enum.to_list()
       end}
    ]
  end
end
