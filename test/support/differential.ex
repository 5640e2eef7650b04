defmodule Penstock.Differential do
  # Runs a scenario in a process of its own, with the stream function of Elixir or with that of
  # Penstock. Returns all observations, so that a test can compare those of both.
  @moduledoc false

  @typedoc """
  The functions that a scenario gets.

    * `stream.(enumerable, fun, options)` makes a stream, of a fun or of `{m, f, args}`
    * `note.(term)` records an observation, after the earlier ones; each process can call it
    * `task.()` records the calling task; a task calls it if it may still run after the scenario
  """
  @type tools :: %{stream: (term, term, keyword -> Enumerable.t()), note: (term -> term), task: Penstock.work(term)}

  @doc """
  Runs `scenario` in a process of its own, the consumer.

  Returns the notes, how many tasks outlive the scenario, and the consumer's account: its result,
  its mailbox, and `true` if its links, monitors, dictionary and `:trap_exit` flag are as before.
  """
  def observe(stream, scenario, options) do
    parent = self()
    label = make_ref()

    tools = %{
      stream: stream,
      note: fn term -> send(parent, {label, :note, term}) end,
      task: fn -> send(parent, {label, :task, self()}) end
    }

    {consumer, monitor} = spawn_monitor(fn -> consume(parent, label, scenario, tools, options) end)
    helpers = serve(options[:outside], consumer, label, [])

    account =
      receive do
        {^label, :account, account} -> account
        {:DOWN, ^monitor, :process, ^consumer, reason} -> {:died, reason}
      after
        10_000 -> flunk(consumer)
      end

    alive = outliving(helpers ++ tasks(label))
    Enum.each(alive, &Process.exit(&1, :kill))
    Process.exit(consumer, :kill)
    Process.demonitor(monitor, [:flush])
    plain(%{account: account, notes: notes(label), alive: length(alive)})
  end

  defp flunk(consumer) do
    raise "the consumer neither ended nor returned: #{inspect(Process.info(consumer, [:current_stacktrace, :messages]))}"
  end

  # Waits until `n` tasks run, and then calls `act`, which kills the consumer or a task. Returns
  # the `n` tasks.
  defp serve(nil, _consumer, _label, tasks), do: tasks

  defp serve({0, act}, consumer, _label, tasks),
    do:
      (
        act.(consumer, tasks)
        tasks
      )

  defp serve({n, act}, consumer, label, tasks) do
    receive do: ({^label, :task, pid} -> serve({n - 1, act}, consumer, label, [pid | tasks]))
  end

  defp consume(parent, label, scenario, tools, options) do
    Process.flag(:trap_exit, Keyword.get(options, :trap_exit, false))
    before = footprint()

    account =
      try do
        {:returned, scenario.(tools)}
      catch
        kind, reason -> {kind, reason}
      end

    {:messages, messages} = Process.info(self(), :messages)
    send(parent, {label, :account, {account, messages, footprint() == before}})
    # The consumer lives on, because its end would end linked tasks as well. That would hide tasks
    # that the stream has left running.
    receive do: (:never -> :ok)
  end

  # Returns the state of the consumer that a stream must leave as it was. Sorts each list, because
  # the VM returns its items in any order.
  defp footprint do
    for {item, what} <- Process.info(self(), [:links, :monitors, :dictionary, :trap_exit]) do
      {item, if(is_list(what), do: Enum.sort(what), else: what)}
    end
  end

  defp notes(label) do
    receive do
      {^label, :note, term} -> [term | notes(label)]
    after
      0 -> []
    end
  end

  defp tasks(label) do
    receive do
      {^label, :task, pid} -> [pid | tasks(label)]
    after
      0 -> []
    end
  end

  # The time after which a task that still lives counts as one that outlives the scenario. A task
  # that must die has been sent an exit signal, or is linked to a process that has been sent one.
  # No other task ends by itself.
  @dying_ms 2_000

  defp outliving(pids) do
    monitors = for pid <- pids, do: {pid, Process.monitor(pid)}
    until = System.monotonic_time(:millisecond) + @dying_ms
    for {pid, monitor} <- monitors, outlives?(pid, monitor, until), do: pid
  end

  defp outlives?(pid, monitor, until) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> false
    after
      max(until - System.monotonic_time(:millisecond), 0) -> Process.demonitor(monitor, [:flush])
    end
  end

  # Replaces pids, references and stacktraces, because they differ from run to run.
  defp plain(pid) when is_pid(pid), do: :a_pid
  defp plain(reference) when is_reference(reference), do: :a_reference

  defp plain([{module, function, _arity_or_args, location} | _])
       when is_atom(module) and is_atom(function) and is_list(location),
       do: :a_stacktrace

  defp plain([head | tail]), do: [plain(head) | plain(tail)]
  defp plain(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> plain() |> List.to_tuple()
  defp plain(%_{} = struct), do: struct
  defp plain(map) when is_map(map), do: Map.new(map, fn {key, value} -> {plain(key), plain(value)} end)
  defp plain(other), do: other
end
