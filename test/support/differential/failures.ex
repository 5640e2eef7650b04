defmodule Penstock.Differential.Failures do
  # Scenarios in which a task or its consumer fails or is killed; see `Penstock.Differential`.
  #
  # Two options allow a difference. With `tidier`, Elixir leaves processes linked to the consumer,
  # and Penstock must not. With `ends_all`, Elixir's tasks that trap exits outlive their consumer,
  # and Penstock's must not.
  @moduledoc false

  import Penstock.Differential.Pieces

  def scenarios, do: failures() ++ timeouts() ++ deaths()

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
          {"calls an unknown module", quote(do: apply(NoSuchModule, :run, []))},
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
        {how, more} <- [{"", []}, {", unordered, with its input", [ordered: false, zip_input_on_exit: true]}] do
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
        {"a consumer that begins to trap exits between results", [],
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

  # The timeout of streams in which one task never ends. It is long, so that the other tasks end
  # in time even if the machine stalls the VM.
  @ample_ms 1_000

  defp timeouts do
    slow = fn x -> if x == 2, do: never(), else: x end
    kill = [timeout: @ample_ms, on_timeout: :kill_task]

    [
      {"a timeout, at which the consumer exits", [tidier: true],
       fn t -> caught(fn -> Enum.to_list(t.stream.([1, 2, 3], slow, timeout: @ample_ms, max_concurrency: 1)) end) end},
      {"a timeout, at which the consumer exits, trapping exits", [tidier: true, trap_exit: true],
       fn t -> caught(fn -> Enum.to_list(t.stream.([1, 2], slow, timeout: @ample_ms, max_concurrency: 1)) end) end},
      {"a timeout, at which the consumer dies", [tidier: true],
       fn t -> Enum.to_list(t.stream.([1, 2, 3], fn _ -> forever(t) end, timeout: 50, max_concurrency: 1)) end},
      {"a timeout, at which the task is killed", [], &Enum.to_list(&1.stream.([1, 2, 3], slow, kill))},
      {"a timeout, at which the task is killed, trapping exits", [trap_exit: true],
       &Enum.to_list(&1.stream.([1, 2, 3], slow, kill))},
      {"a timeout, at which the task is killed, with its input", [],
       &Enum.to_list(&1.stream.([1, 2, 3], slow, [zip_input_on_exit: true] ++ kill))},
      # The results are sorted, because the schedulers decide which of them comes first.
      {"a timeout, at which the task is killed, unordered", [],
       &Enum.sort(&1.stream.([2, 1, 3], slow, [ordered: false, max_concurrency: 3] ++ kill))},
      {"timeouts of all tasks", [],
       &Enum.to_list(&1.stream.(1..4, fn _ -> never() end, timeout: 30, on_timeout: :kill_task))},
      {"a timeout of 0", [], &Enum.to_list(&1.stream.(1..3, fn _ -> never() end, timeout: 0, on_timeout: :kill_task))},
      {"a timeout of a task that traps exits", [],
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
      {"a timeout while the consumer is busy", [],
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
           # The consumer is busy until the timeout has killed the second task, and returns to the
           # stream only then.
           if result == {:ok, :first}, do: receive(do: ({:second, task} -> await_death(task)))
           result
         end)
       end},
      {"one timeout after another", [], &Enum.to_list(&1.stream.([:a, 2, :b, 2], slow, [max_concurrency: 2] ++ kill))}
    ]
  end

  ## Kills by other processes

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
      {"a task sends its parent an exit signal", [],
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
end
