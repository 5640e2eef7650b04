defmodule Penstock.Task.AsyncDifferentialTest do
  # Each scenario runs in three ways: with Elixir's `Task.async`, with `Penstock.Task.async!`, and
  # with `Penstock.Task.async!` and a `:max_runtime`. The owner of the tasks must observe the same
  # each time.
  #
  # | scenarios    | rule out a difference in                                          |
  # |--------------|-------------------------------------------------------------------|
  # | values       | answers, also those that look like messages; the `%Task{}` struct |
  # | failures     | exit reasons, with exits trapped or not, of funs and of MFAs      |
  # | awaiting     | the results of await, yield, shutdown and ignore                  |
  # | surroundings | dictionaries, links, monitors, priorities, group leaders          |
  # | deaths       | how a task ends with its owner, or by another process             |
  use ExUnit.Case, async: true

  alias Penstock.Pool

  @moduletag :capture_log

  def answer(x), do: {:answer, x}
  def fail(how), do: fail_by(how)

  defp fail_by(:raise), do: raise("oops")
  defp fail_by(:throw), do: throw(:oops)
  defp fail_by(:exit), do: exit(:oops)
  defp fail_by(:normal), do: exit(:normal)
  defp fail_by(:shutdown), do: exit(:shutdown)
  defp fail_by(:shutdown_with), do: exit({:shutdown, :oops})
  defp fail_by(:kill), do: exit(:kill)
  defp fail_by(:match), do: {:a, :b} = Process.get(:not_there)
  defp fail_by(:undefined), do: apply(NoSuchModule, :run, [])
  defp fail_by(:killed), do: Process.exit(self(), :kill)

  defp fail_by(:linked) do
    spawn_link(fn -> exit(:linked) end)
    never()
  end

  @ways [:raise, :throw, :exit, :normal, :shutdown, :shutdown_with, :kill, :match, :undefined, :killed, :linked]

  defp never, do: receive(do: (:never -> :ok))

  # Returns {name, options, scenario} for each scenario. A scenario is a function, which the owner
  # of the tasks calls. Its argument `async` starts a task, of a fun or of {m, f, args}. Options:
  #
  #   * `goes_on`: the scenario leaves a task running
  #   * `dies`: the reason with which the owner ends after the scenario
  #   * `named`: the owner has a name
  #   * `trap_exit`: the owner traps exits
  defp scenarios do
    values() ++ failures() ++ awaiting() ++ surroundings() ++ deaths()
  end

  defp values do
    for {name, value} <- [
          {"a value", 42},
          {"nil", nil},
          {"a value that looks like an answer", {make_ref(), 1}},
          {"a value that looks like a death", {:DOWN, make_ref(), :process, self(), :normal}},
          {"a large value", Enum.to_list(1..50_000)}
        ] do
      {name, [], fn async -> Task.await(async.(fn -> value end)) end}
    end ++
      [
        {"module, function and arguments", [], fn async -> Task.await(async.({__MODULE__, :answer, [1]})) end},
        {"a fun of another module", [], fn async -> Task.await(async.(&Map.new/0)) end},
        {"many at once", [], fn async -> Task.await_many(for n <- 1..50, do: async.(fn -> n end)) end},
        {"tasks in tasks", [], fn async -> Task.await(async.(fn -> Task.await(async.(fn -> :inner end)) end)) end},
        {"the struct", [],
         fn async ->
           task = async.({__MODULE__, :answer, [1]})
           Task.await(task)
           {task.mfa, task.owner == self(), Map.keys(task)}
         end},
        {"the struct of a fun", [], fn async -> async.(fn -> 1 end) |> tap(&Task.await/1) |> Map.fetch!(:mfa) end}
      ]
  end

  defp failures do
    for way <- @ways, trap <- [false, true], mfa? <- [false, true] do
      call = if mfa?, do: {__MODULE__, :fail, [way]}, else: fn -> fail_by(way) end

      {"#{way}, trapping: #{trap}, mfa: #{mfa?}", [trap_exit: trap],
       fn async ->
         task = async.(call)
         caught(fn -> Task.await(task) end)
       end}
    end ++
      for way <- @ways do
        {"#{way}, by yield", [trap_exit: true], fn async -> Task.yield(async.(fn -> fail_by(way) end)) end}
      end
  end

  defp awaiting do
    [
      {"await, too late", [goes_on: true], fn async -> caught(fn -> Task.await(async.(&never/0), 10) end) end},
      {"yield, too late, and shutdown", [],
       fn async ->
         task = async.(&never/0)
         {Task.yield(task, 10), Task.shutdown(task), Process.alive?(task.pid)}
       end},
      {"shutdown of a task that has answered", [],
       fn async ->
         task = async.(fn -> :done end)
         await_end(task.pid)
         Task.shutdown(task)
       end},
      {"shutdown, brutally", [],
       fn async ->
         task = async.(&never/0)
         {Task.shutdown(task, :brutal_kill), Process.alive?(task.pid)}
       end},
      {"shutdown of a task that traps exits", [],
       fn async ->
         me = self()

         task =
           async.(fn ->
             Process.flag(:trap_exit, true)
             send(me, :traps)
             receive do: ({:EXIT, _, reason} -> reason)
           end)

         receive do: (:traps -> :ok)
         Task.shutdown(task)
       end},
      {"yield_many", [],
       fn async ->
         tasks = [async.(fn -> 1 end), async.(&never/0)]
         [{_, {:ok, 1}}, {_, nil}] = answers = Task.yield_many(tasks, 200)
         for {task, answer} <- answers, do: {answer, Task.shutdown(task, :brutal_kill)}
       end},
      {"ignore", [],
       fn async ->
         task = async.(fn -> receive do: (:go -> :done) end)
         ignored = Task.ignore(task)
         send(task.pid, :go)
         await_end(task.pid)
         ignored
       end},
      {"an answer that no process awaits", [], fn async -> await_end(async.(fn -> :done end).pid) end},
      {"an answer after demonitor", [],
       fn async ->
         task = async.(fn -> receive do: (:go -> :done) end)
         Process.demonitor(task.ref, [:flush])
         send(task.pid, :go)
         await_end(task.pid)
       end},
      {"awaited by another process", [],
       fn async ->
         task = async.(fn -> :mine end)
         {pid, monitor} = spawn_monitor(fn -> exit({:caught, caught_error(fn -> Task.await(task) end)}) end)
         receive do: ({:DOWN, ^monitor, :process, ^pid, {:caught, kind}} -> {kind, Task.await(task)})
       end}
    ]
  end

  defp surroundings do
    seen = [:links, :monitors, :trap_exit, :priority, :message_queue_len, :dictionary, :group_leader]

    [
      {"the process info of the task", [],
       fn async ->
         async.(fn -> for {item, value} <- Process.info(self(), seen), do: {item, sorted(value)} end) |> Task.await()
       end},
      {"the dictionary of the task, by mfa", [],
       fn async ->
         async.({Process, :get, []}) |> Task.await() |> Enum.sort()
       end},
      {"the task, seen by another process", [],
       fn async ->
         task = async.(&never/0)
         await_waiting(task.pid)
         {:dictionary, dictionary} = Process.info(task.pid, :dictionary)
         initial = :proc_lib.translate_initial_call(task.pid)
         {:parent, parent} = Process.info(task.pid, :parent)
         Task.shutdown(task, :brutal_kill)
         {Enum.sort(dictionary), initial, parent == self()}
       end},
      {"the owner's links and monitors while the task runs", [],
       fn async ->
         task = async.(&never/0)
         info = Process.info(self(), [:links, :monitors])
         Task.shutdown(task, :brutal_kill)
         info
       end},
      {"$callers and $ancestors of a task in a task", [],
       fn async ->
         async.(fn -> Task.await(async.(fn -> {Process.get(:"$callers"), Process.get(:"$ancestors")} end)) end)
         |> Task.await()
         |> then(fn {callers, ancestors} -> {length(callers), length(ancestors), self() in callers} end)
       end},
      {"foreign $callers and $ancestors", [],
       fn async ->
         for foreign <- [[:a, :b], [], nil, :foreign, %{}] do
           Process.put(:"$ancestors", foreign)
           # The scenario puts only lists into `$callers`. dictionary_test.exs tries other
           # terms.
           if is_list(foreign), do: Process.put(:"$callers", foreign)
           async.(fn -> {tl(Process.get(:"$callers")), tl(Process.get(:"$ancestors"))} end) |> Task.await()
         end
       end},
      {"an owner that has a name", [named: true],
       fn async -> async.(fn -> Process.get(:"$ancestors") end) |> Task.await() end},
      {"messages of other processes stay, in order", [],
       fn async ->
         for n <- 1..3, do: send(self(), {:note, n})
         me = self()
         async.(fn -> send(me, {:note, 4}) end) |> Task.await()
       end},
      {"a foreign group leader", [],
       fn async ->
         Process.group_leader(self(), spawn(&never/0))
         leader = Process.group_leader()
         Task.await(async.(fn -> Process.group_leader() == leader end))
       end}
    ]
  end

  defp deaths do
    [
      {"the owner dies", [dies: :boom, goes_on: true], fn async -> async.(&never/0) end},
      {"the owner is killed", [dies: :kill, goes_on: true], fn async -> async.(&never/0) end},
      {"the owner dies, and the task traps exits", [dies: :boom, goes_on: true],
       fn async ->
         me = self()

         task =
           async.(fn ->
             Process.flag(:trap_exit, true)
             send(me, :traps)
             receive do: ({:EXIT, _, reason} -> exit({:told, reason}))
           end)

         receive do: (:traps -> task)
       end},
      {"the owner ends normally", [dies: :normal, goes_on: true],
       fn async ->
         me = self()

         task =
           async.(fn ->
             monitor = Process.monitor(me)
             send(me, :watches)
             receive do: ({:DOWN, ^monitor, _, _, reason} -> exit({:seen, reason}))
           end)

         receive do: (:watches -> task)
       end},
      {"another process kills the task", [trap_exit: true],
       fn async ->
         task = async.(&never/0)
         Process.exit(task.pid, :kill)
         caught(fn -> Task.await(task) end)
       end},
      {"another process stops the task", [trap_exit: true],
       fn async ->
         task = async.(&never/0)
         Process.exit(task.pid, {:shutdown, :by_another})
         caught(fn -> Task.await(task) end)
       end}
    ]
  end

  ## Pieces

  defp caught(fun) do
    fun.()
  catch
    kind, reason -> {kind, reason}
  end

  defp caught_error(fun) do
    fun.()
  rescue
    error -> error.__struct__
  end

  defp sorted(list) when is_list(list), do: Enum.sort(list)
  defp sorted(other), do: other

  defp await_end(pid) do
    monitor = Process.monitor(pid)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ended)
  end

  # Waits until the owner has no link. Its link to a task that has answered lasts until the task
  # has ended. Its monitor of the task goes a moment earlier, when the owner receives the answer.
  defp await_linked do
    {:links, linked} = Process.info(self(), :links)
    Enum.each(linked, &await_end/1)
    if linked != [], do: await_linked()
  end

  # Waits until the task is in `never/0`.
  defp await_waiting(pid) do
    case Process.info(pid, [:status, :dictionary]) do
      [status: :waiting, dictionary: [_, _, _ | _]] ->
        :ok

      _begins ->
        receive after: (1 -> :ok)
        await_waiting(pid)
    end
  end

  ## The comparison

  defp observe(async, scenario, options) do
    me = self()
    tag = make_ref()

    {owner, monitor} =
      spawn_monitor(fn ->
        Process.flag(:trap_exit, Keyword.get(options, :trap_exit, false))
        if options[:named], do: Process.register(self(), __MODULE__)
        account = caught(fn -> scenario.(async) end)
        unless options[:goes_on], do: await_linked()
        {:messages, messages} = Process.info(self(), :messages)
        footprint = for {item, list} <- Process.info(self(), [:monitors, :links]), do: {item, length(list)}
        send(me, {tag, account, messages, footprint})
        if options[:named], do: Process.unregister(__MODULE__)
        receive do: (:end -> exit(options[:dies] || :over))
      end)

    account =
      receive do
        {^tag, account, messages, footprint} -> {account, messages, footprint}
        {:DOWN, ^monitor, :process, ^owner, reason} -> {:died, reason}
      after
        10_000 -> flunk("the owner neither ended nor reported a result")
      end

    fate = fate(account, owner, options)
    Process.exit(owner, :kill)
    plain({account, fate})
  end

  # Ends the owner, and returns the reason with which its task ends then.
  defp fate({%Task{pid: pid}, _messages, _footprint}, owner, options) do
    monitor = Process.monitor(pid)
    if options[:dies] == :kill, do: Process.exit(owner, :kill), else: send(owner, :end)
    receive do: ({:DOWN, ^monitor, :process, ^pid, reason} -> reason)
  end

  defp fate(_account, _owner, _options), do: :none

  defp plain(pid) when is_pid(pid), do: :a_pid
  defp plain(reference) when is_reference(reference), do: :a_reference
  defp plain(fun) when is_function(fun), do: :a_fun

  defp plain([{module, function, _arity_or_args, location} | _])
       when is_atom(module) and is_atom(function) and is_list(location),
       do: :a_stacktrace

  defp plain([head | tail]), do: [plain(head) | plain(tail)]
  defp plain(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> plain() |> List.to_tuple()
  defp plain(%module{} = struct), do: {module, struct |> Map.from_struct() |> plain()}
  defp plain(map) when is_map(map), do: Map.new(map, fn {key, value} -> {plain(key), plain(value)} end)
  defp plain(other), do: other

  defp theirs({m, f, args}), do: Task.async(m, f, args)
  defp theirs(fun), do: Task.async(fun)

  defp ours(pool, {m, f, args}), do: Penstock.Task.async!(pool, m, f, args)
  defp ours(pool, fun), do: Penstock.Task.async!(pool, fun)

  test "Penstock's tasks do the same as Elixir's in at least 60 scenarios, and leave no permit" do
    scenarios = scenarios()
    names = Enum.map(scenarios, &elem(&1, 0))
    assert names == Enum.uniq(names)
    assert length(names) >= 60

    for {name, options, scenario} <- scenarios do
      pool = Pool.new(limit: 100)
      theirs = observe(&theirs/1, scenario, options)
      assert {name, observe(&ours(pool, &1), scenario, options)} == {name, theirs}
      # A permit of a dead holder returns when the pool's monitor of the holder fires. This call
      # waits for that.
      assert {name, Pool.acquire(pool, permits: 100)} == {name, :ok}
    end
  end

  test "Penstock's tasks do the same as Elixir's in all scenarios with a :max_runtime" do
    for {name, options, scenario} <- scenarios() do
      pool = Pool.new(limit: 100)
      theirs = observe(&theirs/1, scenario, options)

      timed = fn
        {m, f, args} -> Penstock.Task.async!(pool, m, f, args, max_runtime: 60_000)
        fun -> Penstock.Task.async!(pool, fun, max_runtime: 60_000)
      end

      assert {name, observe(timed, scenario, options)} == {name, theirs}
      assert {name, Pool.acquire(pool, permits: 100)} == {name, :ok}
    end
  end
end
