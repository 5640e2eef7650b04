defmodule Penstock.Spawners.Tracer do
  # A process that gets the trace messages, and counts the created processes by their function and
  # creator. It reports each window of time to the run to which it is linked.
  #
  # A window has a bound of messages and memory. When the bound is reached, the tracer reports the
  # window up to there and ends, and its death ends the tracing. So a spawn bomb is slowed down for
  # a small part of each window only, and the mailbox does not grow.
  @moduledoc false

  alias Penstock.Spawners.{Call, Origin, Trace}

  # How many creations, and how many trace messages of all kinds, a window may have. At 10 windows
  # a second, they cost at most some 3 % of a core.
  @max_spawned 1_000
  @max_messages 4_000

  # The bytes of the tracer with its mailbox. Each trace message has a copy of the arguments of the
  # process, such as what its fun closes over.
  @max_memory 16 * 1_024 * 1_024
  @spawned_per_check 8

  # How many processes with a late function, for each function and creator in a window, are asked
  # for it.
  @max_asked 5

  defstruct [:run, :origin, :trace, :from, :to, :until, last?: false, spawned: 0, messages: 0, rows: %{}]

  @typedoc "For each function and creator: how many processes, and which."
  @type rows :: %{Origin.key() => {pos_integer, [pid]}}
  @typedoc "The counts from one time to another, in native units, and when the next window begins."
  @type window :: %{rows: rows, from: integer, to: integer, next: integer, at: :end | :bound}

  # A high priority makes the tracer read its messages before many ready processes run.
  @spec start_link(pid) :: pid
  def start_link(origin) do
    options = [:link, priority: :high, message_queue_data: :off_heap]
    run = self()
    :erlang.spawn_opt(fn -> init(run, origin) end, options)
  end

  # Makes the tracer count, once tracing is on, until the native time `until`.
  @spec begin(pid, Trace.t(), integer, integer) :: :ok
  def begin(tracer, trace, from, until) do
    send(tracer, {:begin, trace, from, until})
    :ok
  end

  defp init(run, origin) do
    receive do
      {:begin, trace, from, until} ->
        loop(open(%__MODULE__{run: run, origin: origin, trace: trace, until: until}, from))
    end
  end

  defp loop(tracer) do
    receive do
      {:trace_ts, child, :spawned, creator, call, ts} -> tracer |> advance(ts) |> count(child, creator, call, ts)
      {:trace_ts, _pid, _event, _detail, ts} -> tracer |> advance(ts) |> bounded(ts)
      {:trace_ts, _pid, _event, _first, _second, ts} -> tracer |> advance(ts) |> bounded(ts)
      {:trace_delivered, _all, _ref} -> report(tracer, tracer.until, tracer.until, :end)
    after
      timeout(tracer) -> close(tracer)
    end
  end

  # The schedulers send their trace messages one after another. So a message of a closed window may
  # come late, and is counted in the next window.
  defp advance(%{to: to, until: until} = tracer, ts) when ts >= to and to < until, do: tracer |> next() |> advance(ts)
  defp advance(tracer, _ts), do: tracer

  # The last window stays open until all messages have come.
  defp close(%{to: to, until: until} = tracer) when to >= until do
    Trace.deliver(tracer.trace)
    loop(%{tracer | last?: true})
  end

  defp close(tracer), do: tracer |> next() |> loop()

  defp next(tracer) do
    report(tracer, tracer.to, tracer.to, :end)
    open(tracer, tracer.to)
  end

  # The length is random, so that no spawner with a fixed interval keeps step with the windows.
  defp open(%{until: until} = tracer, from) do
    to = min(from + System.convert_time_unit(random_ms(), :millisecond, :native), until)
    %{tracer | from: from, to: to, spawned: 0, messages: 0, rows: %{}}
  end

  defp random_ms, do: 49 + :rand.uniform(101)

  # Processes that are created after the end do not count.
  defp count(%{until: until} = tracer, _child, _creator, _call, ts) when ts > until, do: bounded(tracer, ts)

  defp count(tracer, child, creator, call, ts) do
    key = {Call.of(call), creator}
    {count, pids} = Map.get(tracer.rows, key, {0, []})
    if count == 0, do: Origin.ask_creator(tracer.origin, key)
    if count < @max_asked and Call.late?(elem(key, 0)), do: Origin.ask_late(tracer.origin, key, child)
    rows = Map.put(tracer.rows, key, {count + 1, [child | pids]})
    bounded(%{tracer | rows: rows, spawned: tracer.spawned + 1}, ts)
  end

  defp bounded(%{spawned: spawned, messages: messages} = tracer, ts) do
    messages = messages + 1

    if spawned >= @max_spawned or messages >= @max_messages or
         (rem(messages, @spawned_per_check) == 0 and memory() > @max_memory) do
      report(tracer, max(ts, tracer.from + 1), tracer.to, :bound)
    else
      loop(%{tracer | messages: messages})
    end
  end

  defp report(tracer, to, next, at) do
    send(tracer.run, {:window, self(), %{rows: tracer.rows, from: tracer.from, to: to, next: next, at: at}})
  end

  defp memory do
    {:memory, bytes} = Process.info(self(), :memory)
    bytes
  end

  defp timeout(%{last?: true}), do: :infinity

  defp timeout(%{to: to}) do
    native = max(to - System.monotonic_time(), 0)
    # Rounds up, because a timeout before the end of the window would close it early.
    System.convert_time_unit(native, :native, :millisecond) + 1
  end
end
