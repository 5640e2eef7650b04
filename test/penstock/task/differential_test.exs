defmodule Penstock.Task.DifferentialTest do
  # Every scenario is run by `Task.async_stream` and by ours; what could be seen must be the same. Values, exits, what arrives
  # in the mailbox, what still runs afterwards.
  use ExUnit.Case, async: true

  alias Penstock.{Differential, Pool}

  @moduletag :capture_log

  # {name, options, scenario}; see `Penstock.Differential`. `tidier: true` is where `Task` leaves processes linked to
  # the consumer, and we do not.
  def scenarios do
    values() ++ enumerables() ++ halts() ++ failures() ++ timeouts() ++ deaths() ++ surroundings() ++ suspensions()
  end

  ## Values and their order

  defp values do
    [
      {"a list", [], &Enum.to_list(&1.stream.(1..20, double(), []))},
      {"nothing", [], &Enum.to_list(&1.stream.([], double(), []))},
      {"one element", [], &Enum.to_list(&1.stream.([1], double(), []))},
      {"one task at a time", [], &Enum.to_list(&1.stream.(1..10, double(), max_concurrency: 1))},
      {"more tasks than elements", [], &Enum.to_list(&1.stream.(1..3, double(), max_concurrency: 50))},
      {"the slowest first, in order", [], &Enum.to_list(&1.stream.([60, 30, 0], sleep(), max_concurrency: 3))},
      {"the slowest first, as they come", [],
       fn t -> Enum.to_list(t.stream.([3, 2, 1], one_by_one(), max_concurrency: 3, ordered: false)) end},
      {"as they come, one at a time", [],
       &Enum.to_list(&1.stream.([20, 10, 0], sleep(), max_concurrency: 1, ordered: false))},
      {"module, function and arguments", [], &Enum.to_list(&1.stream.([1, 2], {Integer, :to_string, [2]}, []))},
      {"no limit of time", [], &Enum.to_list(&1.stream.(1..3, double(), timeout: :infinity))},
      {"values that look like results", [],
       &Enum.to_list(&1.stream.([{:exit, 1}, {:ok, 2}, :down, {:done, 3}], fn x -> x end, []))},
      {"a large value", [],
       fn t ->
         t.stream.(1..3, fn n -> Enum.to_list(1..(n * 10_000)) end, []) |> Enum.map(fn {:ok, l} -> length(l) end)
       end},
      {"elements of any kind", [], &Enum.to_list(&1.stream.([nil, false, [], {}, %{}, self()], fn x -> x end, []))}
    ]
  end

  ## What is streamed over

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
      {"how far it pulls ahead", [], fn t -> pulls(t, max_concurrency: 3) end},
      {"how far it pulls ahead, as they come", [], fn t -> pulls(t, max_concurrency: 3, ordered: false) end},
      {"an enumerable that raises", [], fn t -> t |> failing(fn -> raise "no more" end) |> Enum.to_list() end},
      {"an enumerable that throws", [], fn t -> t |> failing(fn -> throw(:no_more) end) |> Enum.to_list() end},
      {"an enumerable that exits", [], fn t -> t |> failing(fn -> exit(:no_more) end) |> Enum.to_list() end},
      {"an enumerable that raises at once", [],
       fn t -> Stream.map([1], fn _ -> raise "none" end) |> t.stream.(double(), []) |> Enum.to_list() end},
      {"not an enumerable", [], &Enum.to_list(&1.stream.(5, double(), []))},
      {"a list that is not one", [], &Enum.to_list(&1.stream.([1, 2 | 3], double(), max_concurrency: 1))},
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
      {"take, and what traps exits", [],
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
      {"a consumer that raises, of results as they come", [],
       fn t -> each(t, fn _ -> raise "enough" end, ordered: false) end},
      {"a consumer that raises over a resource", [],
       fn t ->
         t |> resource(1..9) |> t.stream.(double(), max_concurrency: 1) |> Enum.each(fn _ -> raise "enough" end)
       end},
      {"Stream.run", [], fn t -> 1..5 |> t.stream.(fn x -> t.note.(x) end, max_concurrency: 1) |> Stream.run() end}
    ]
  end

  ## Tasks that fail

  defp failures do
    for {name, fail} <- [
          {"raises", quote(do: raise("oops"))},
          {"throws", quote(do: throw(:oops))},
          {"exits", quote(do: exit(:oops))},
          {"exits normally", quote(do: exit(:normal))},
          {"is shut down", quote(do: exit(:shutdown))},
          {"is shut down with a reason", quote(do: exit({:shutdown, :oops}))},
          {"exits with kill", quote(do: exit(:kill))},
          {"fails to match", quote(do: {:a, :b} = Process.get(:not_there))},
          {"calls what is not there", quote(do: apply(NoSuchModule, :run, []))},
          {"dies by a link",
           quote(
             do:
               (
                 spawn_link(fn -> exit(:linked) end)
                 receive(do: (:never -> :ok))
               )
           )}
        ],
        {mode, options} <- [{"not trapping exits", []}, {"trapping exits", [trap_exit: true]}],
        {how, more} <- [{"", []}, {", as they come, with its input", [ordered: false, zip_input_on_exit: true]}] do
      fail = fn -> Code.eval_quoted(fail) end
      fun = fn x -> if x == 2, do: fail.(), else: x end

      {"a task #{name}, #{mode}#{how}", options,
       &Enum.to_list(&1.stream.([1, 2, 3], fun, [max_concurrency: 1] ++ more))}
    end ++
      [
        {"all tasks fail", [trap_exit: true], &Enum.to_list(&1.stream.(1..6, fn x -> exit({:no, x}) end, []))},
        {"a task fails while others never end", [],
         fn t ->
           t.stream.(
             1..3,
             fn
               3 -> exit(:oops)
               _ -> forever(t)
             end,
             max_concurrency: 3
           )
           |> Enum.to_list()
         end},
        {"a task fails while others trap exits", [ends_all: true],
         fn t ->
           t.stream.(
             1..3,
             fn
               3 -> exit(:oops)
               _ -> trapping(t)
             end,
             max_concurrency: 3
           )
           |> Enum.to_list()
         end},
        {"a consumer that begins to trap exits in between", [],
         fn t ->
           t.stream.(
             [1, 2, 3],
             fn
               2 -> exit(:oops)
               x -> x
             end,
             max_concurrency: 1
           )
           |> Enum.map(fn result ->
             Process.flag(:trap_exit, true)
             result
           end)
         end}
      ]
  end

  ## Tasks that take too long

  # What is not to be late has this many ms, however long the machine gives the VM no turn.
  @ample 1_000

  defp timeouts do
    slow = fn x -> if x == 2, do: never(), else: x end
    kill = [timeout: @ample, on_timeout: :kill_task]

    [
      {"too long, and exit", [tidier: true],
       fn t -> caught(fn -> Enum.to_list(t.stream.([1, 2, 3], slow, timeout: @ample, max_concurrency: 1)) end) end},
      {"too long, and exit, trapping exits", [tidier: true, trap_exit: true],
       fn t -> caught(fn -> Enum.to_list(t.stream.([1, 2], slow, timeout: @ample, max_concurrency: 1)) end) end},
      {"too long, uncaught", [tidier: true],
       fn t -> Enum.to_list(t.stream.([1, 2, 3], fn _ -> forever(t) end, timeout: 50, max_concurrency: 1)) end},
      {"too long, and killed", [], &Enum.to_list(&1.stream.([1, 2, 3], slow, kill))},
      {"too long, and killed, trapping exits", [trap_exit: true], &Enum.to_list(&1.stream.([1, 2, 3], slow, kill))},
      {"too long, with its input", [], &Enum.to_list(&1.stream.([1, 2, 3], slow, [zip_input_on_exit: true] ++ kill))},
      # Which of two comes first is the schedulers' affair.
      {"too long, as they come", [],
       &Enum.sort(&1.stream.([2, 1, 3], slow, [ordered: false, max_concurrency: 3] ++ kill))},
      {"all too long", [], &Enum.to_list(&1.stream.(1..4, fn _ -> never() end, timeout: 30, on_timeout: :kill_task))},
      {"no time at all", [], &Enum.to_list(&1.stream.(1..3, fn _ -> never() end, timeout: 0, on_timeout: :kill_task))},
      {"too long, and trapping exits in the task", [],
       &Enum.to_list(
         &1.stream.(
           [1],
           fn _ ->
             Process.flag(:trap_exit, true)
             never()
           end,
           timeout: 50,
           on_timeout: :kill_task
         )
       )},
      {"too long while the consumer is busy", [],
       fn t ->
         me = self()

         t.stream.(
           [1, 2],
           fn
             1 ->
               :first

             2 ->
               send(me, {:second, self()})
               never()
           end,
           [max_concurrency: 2] ++ kill
         )
         |> Enum.map(fn result ->
           # It comes back to the stream only when the second task is dead.
           if result == {:ok, :first}, do: receive(do: ({:second, task} -> await_death(task)))
           result
         end)
       end},
      {"one after the other too long", [],
       &Enum.to_list(&1.stream.([:a, 2, :b, 2], slow, [max_concurrency: 2] ++ kill))}
    ]
  end

  ## Deaths by another's hand

  defp deaths do
    kill_consumer = fn reason -> fn consumer, _tasks -> Process.exit(consumer, reason) end end
    kill_task = fn _consumer, [task | _] -> Process.exit(task, :kill) end
    stop_task = fn _consumer, [task | _] -> Process.exit(task, :stopped) end
    three = fn t -> Enum.to_list(t.stream.(1..3, fn _ -> forever(t) end, max_concurrency: 3, timeout: :infinity)) end

    stubborn = fn t ->
      Enum.to_list(t.stream.(1..3, fn _ -> trapping(t) end, max_concurrency: 3, timeout: :infinity))
    end

    [
      {"the consumer is killed", [outside: {3, kill_consumer.(:kill)}], three},
      {"the consumer is shut down", [outside: {3, kill_consumer.(:shutdown)}], three},
      {"the consumer is killed, tasks trap exits", [ends_all: true, outside: {3, kill_consumer.(:kill)}], stubborn},
      {"the consumer is killed, trapping exits", [trap_exit: true, outside: {3, kill_consumer.(:kill)}], three},
      {"a task is killed", [outside: {3, kill_task}], three},
      {"a task is stopped", [outside: {3, stop_task}], three},
      {"a task is killed, trapping exits", [trap_exit: true, outside: {1, kill_task}],
       fn t -> Enum.to_list(t.stream.([1], fn _ -> forever(t) end, [])) end},
      {"a task is stopped, trapping exits", [trap_exit: true, outside: {1, stop_task}],
       fn t -> Enum.to_list(t.stream.([1], fn _ -> forever(t) end, zip_input_on_exit: true)) end},
      {"a task tells its parent to stop", [],
       fn t ->
         Enum.to_list(
           t.stream.(
             [1],
             fn _ ->
               t.task.()
               Process.exit(hd(Process.get(:"$ancestors")), :stop)
               receive(do: (:never -> :ok))
             end,
             []
           )
         )
       end}
    ]
  end

  ## What is around

  defp surroundings do
    [
      {"messages of others stay, in order", [],
       fn t ->
         for n <- 1..5, do: send(self(), {:note, n})
         result = Enum.to_list(t.stream.(1..5, double(), []))
         send(self(), :last)
         result
       end},
      {"messages that look like ours", [],
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
      {"a consumer that reads messages of others", [],
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
      {"$callers, of none", [],
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
      {"whether a task is over when its result is seen", [],
       fn t -> t.stream.(1..6, fn _ -> self() end, []) |> Enum.map(fn {:ok, pid} -> Process.alive?(pid) end) end},
      {"whether a task is over, as they come", [],
       fn t ->
         t.stream.(1..6, fn _ -> self() end, ordered: false) |> Enum.map(fn {:ok, pid} -> Process.alive?(pid) end)
       end},
      {"each task is a process", [], fn t -> t.stream.(1..20, fn _ -> self() end, []) |> Enum.uniq() |> length() end},
      {"in another process", [],
       fn t ->
         stream = t.stream.(1..4, double(), [])
         task = Task.async(fn -> Enum.to_list(stream) end)
         result = Task.await(task)
         # It may be a moment until its end undoes that.
         Process.unlink(task.pid)
         result
       end},
      {"two at once, by zip", [], fn t -> Enum.zip(t.stream.(1..5, double(), []), t.stream.(6..10, double(), [])) end},
      {"zip with what raises", [], fn t -> raising_zip(t, fn s, other -> Stream.zip([s, other]) end) end},
      {"zip after what raises", [], fn t -> raising_zip(t, fn s, other -> Stream.zip([other, s]) end) end},
      {"zip with something shorter", [], fn t -> Enum.zip(t.stream.(1..50, double(), []), 1..3) end},
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
      {"a task fails while suspended", [trap_exit: true],
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

  ## Pieces

  defp double, do: fn x -> x * 2 end
  defp sleep, do: fn ms -> receive(do: (:never -> :ok), after: (ms -> ms)) end
  defp never, do: receive(do: (:never -> :ok))

  defp forever(t) do
    t.task.()
    never()
  end

  defp await_death(pid) do
    monitor = Process.monitor(pid)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  defp trapping(t) do
    Process.flag(:trap_exit, true)
    forever(t)
  end

  defp first_only(t, trap? \\ false) do
    fn
      1 -> 1
      _ -> if trap?, do: trapping(t), else: forever(t)
    end
  end

  defp resource(t, elements) do
    Stream.resource(
      fn ->
        t.note.(:opened)
        Enum.to_list(elements)
      end,
      fn
        [] -> {:halt, []}
        [x | rest] -> {[x], rest}
      end,
      fn _ -> t.note.(:closed) end
    )
  end

  defp failing(t, fail) do
    [1, 2, 3]
    |> Stream.map(fn x -> if x == 3, do: fail.(), else: x end)
    |> t.stream.(fn _ -> forever(t) end, max_concurrency: 3)
  end

  # One task ends after another, each when the last is dead, however busy the machine is.
  defp turnstile(next) do
    receive do
      {^next, task} ->
        send(task, :go)
        await_death(task)
        turnstile(next + 1)

      {:DOWN, _monitor, :process, _consumer, _reason} ->
        :ok
    end
  end

  # A function of elements that are numbers, whose tasks end in the order of these.
  defp one_by_one do
    consumer = self()

    # Not linked: it would be seen on the consumer.
    turnstile =
      spawn(fn ->
        Process.monitor(consumer)
        turnstile(1)
      end)

    fn x ->
      send(turnstile, {x, self()})
      receive do: (:go -> x)
    end
  end

  defp pulls(t, options) do
    1..6
    |> Stream.map(fn x ->
      t.note.({:pulled, x})
      x
    end)
    |> t.stream.(one_by_one(), options)
    |> Enum.map(fn result ->
      t.note.({:seen, result})
      result
    end)
  end

  defp each(t, fun, options \\ []) do
    t.stream.(1..4, first_only(t), [max_concurrency: 4] ++ options) |> Enum.each(fun)
  end

  # It raises when it is asked for its second element, while tasks of the stream run.
  defp raising_zip(t, zip) do
    stream = t.stream.(1..20, fn x -> if x < 5, do: x, else: forever(t) end, max_concurrency: 4)
    other = Stream.map(1..20, fn x -> if x == 3, do: raise("no third"), else: x end)
    stream |> zip.(other) |> Enum.each(t.note)
  end

  defp caught(fun) do
    fun.()
  catch
    :exit, reason -> {:caught, reason}
  end

  defp kind_of_error(fun) do
    fun.()
  rescue
    error -> error.__struct__
  end

  defp resume({:suspended, acc, next}), do: [acc | resume(next.({:cont, []}))]
  defp resume({done, acc}), do: [{done, acc}]

  ## The comparison

  @tag timeout: 120_000
  test "there are at least 40 scenarios, and each is seen the same" do
    scenarios = scenarios()
    names = Enum.map(scenarios, &elem(&1, 0))
    assert names == Enum.uniq(names)
    assert length(names) >= 40

    differences =
      scenarios
      |> Task.async_stream(fn {name, options, scenario} -> {name, both(scenario, options)} end,
        max_concurrency: 16,
        timeout: 60_000
      )
      |> Enum.flat_map(fn {:ok, {name, {theirs, ours, left}}} ->
        if theirs == ours and left == {0, 0}, do: [], else: [{name, theirs: theirs, ours: ours, left: left}]
      end)

    assert differences == [], inspect(differences, pretty: true, width: 200, limit: :infinity)
  end

  defp both(scenario, options) do
    pool = Pool.new(limit: 1_000)
    theirs = theirs(scenario, options)
    ours = Differential.observe(&ours(pool, &1, &2, &3), scenario, options)
    theirs = if options[:tidier], do: tidied(theirs), else: theirs
    theirs = if options[:ends_all], do: all_ended(theirs), else: theirs
    {theirs, ours, left(pool)}
  end

  # A task that was dead before Elixir came to monitor it has lost its reason there, seldom.
  defp theirs(scenario, options) do
    seen = Differential.observe(&elixirs/3, scenario, options)
    if inspect(seen, limit: :infinity) =~ ":noproc", do: theirs(scenario, options), else: seen
  end

  # There, tasks that trap exits run on without a consumer; here they would hold permits.
  defp all_ended(%{alive: alive} = seen) when alive > 0, do: %{seen | alive: 0}

  defp tidied(%{account: {result, messages, false}} = seen), do: %{seen | account: {result, messages, true}}

  defp elixirs(enumerable, {m, f, a}, options), do: Task.async_stream(enumerable, m, f, a, options)
  defp elixirs(enumerable, fun, options), do: Task.async_stream(enumerable, fun, options)
  defp ours(pool, enumerable, {m, f, a}, options), do: Penstock.Task.async_stream(pool, enumerable, m, f, a, options)
  defp ours(pool, enumerable, fun, options), do: Penstock.Task.async_stream(pool, enumerable, fun, options)

  # The permits of dead holders return when their monitors have fired: a caller that gets all
  # permits has waited for that.
  defp left(pool) do
    :ok = Pool.acquire(pool, permits: 1_000, timeout: 5_000)
    :ok = Pool.release(pool, 1_000)
    info = Pool.info(pool)
    {info.in_use, info.waiting}
  end
end
