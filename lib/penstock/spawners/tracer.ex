defmodule Penstock.Spawners.Tracer do
  # A process that gets the trace messages, and counts the created processes by their function and
  # creator. It reports each window of time to the run to which it is linked.
  #
  # It traces the whole of each window, or only a first slice of it if the processes are more than
  # the bounds of messages or memory allow. The death of the tracer ends the tracing.
  # So a spawn bomb is slowed down for a small part of each window, and the mailbox does not grow.
  #
  # The length of a slice is set before it begins. A slice that ended at the n-th creation would
  # end just after a burst, and would make rates seem too high. So the bound must be reached rarely.
  # If it is reached, the creation that reached it counts once, and only those before it in
  # proportion: a slice that ends at its first creation tells nothing of the rest of the window.
  @moduledoc false

  alias Penstock.Spawners.{Call, Origin, Trace}

  # How many creations, and how many trace messages of all kinds, a window may have. At 10 windows
  # a second, they cost at most some 2 % of a core.
  @max_spawned 500
  @max_messages 2_000

  # The bytes of the tracer with its mailbox, after which it takes no more. Each trace message has a
  # copy of the arguments of the process, such as what its fun closes over. One message may have
  # more, and each scheduler may send some before the tracer runs. So this is no hard bound.
  @max_memory 16 * 1_024 * 1_024

  # The shortest time that stands for a window, in us. Counts are multiplied by some 1,000 then.
  @min_slice_us 100

  # How many processes with a late function, for each function and creator in a window, are asked
  # for it, and how many creators are asked in a window.
  @max_late 5
  @max_creators 100

  # The lengths of windows, in ms.
  @windows 50..150

  # `start` is the time when this tracer began. `full` is nil, or once the memory is full: the bytes,
  # and how many messages are still to be read.
  defstruct [:run, :origin, :trace, :slice, :start, :from, :to, :next, :until, :full, :newest] ++
              [last?: false, spawned: 0, messages: 0, creators: 0, rows: %{}, late: %{}]

  @typedoc "For each function and creator: how many processes, and which."
  @type rows :: %{Origin.key() => {pos_integer, [pid]}}
  @typedoc """
  The counts from one time to another, in native units, and when the next window begins. `late` are
  those of earlier windows. `newest` is the creation at which a bound was reached, one of `rows`.
  The origin answers for the window with its number, which rises from window to window.
  """
  @type window :: %{
          number: integer,
          rows: rows,
          late: rows,
          newest: {Origin.key(), pid} | nil,
          from: integer,
          to: integer,
          next: integer,
          slice: slice
        }
  @typedoc "How much of a window is traced, in native units; `:whole` means all of it."
  @type slice :: pos_integer | :whole

  # A high priority makes the tracer read its messages before many ready processes run.
  @spec start_link(pid) :: pid
  def start_link(origin) do
    options = [:link, priority: :high, message_queue_data: :off_heap]
    run = self()
    :erlang.spawn_opt(fn -> init(run, origin) end, options)
  end

  # Makes the tracer count, once tracing is on, until the native time `until`.
  @spec begin(pid, Trace.t(), slice, integer, integer) :: :ok
  def begin(tracer, trace, slice, from, until) do
    send(tracer, {:begin, trace, slice, from, until})
    :ok
  end

  defp init(run, origin) do
    receive do
      {:begin, trace, slice, from, until} ->
        tracer = %__MODULE__{run: run, origin: origin, trace: trace, slice: slice, start: from, until: until}
        loop(open(tracer, from))
    end
  end

  # All messages that came before the memory was found full have been read.
  defp loop(%{full: {bytes, 0}} = tracer), do: report_full(tracer, bytes)

  defp loop(tracer) do
    timeout = timeout(tracer)

    receive do
      {:trace_ts, child, :spawned, creator, call, ts} -> tracer |> advance(ts) |> count(child, creator, call, ts)
      {:trace_ts, _pid, _event, _detail, ts} -> tracer |> advance(ts) |> bounded(ts)
      {:trace_ts, _pid, _event, _first, _second, ts} -> tracer |> advance(ts) |> bounded(ts)
      {:trace_delivered, _all, _ref} -> report(tracer, tracer.to, longer(tracer))
    after
      timeout -> tracer |> timed_out(timeout) |> loop()
    end
  end

  # The timer may expire before the tracer is scheduled, and the VM then looks at no message. So the
  # window ends only when a timeout of 0, which does look, has found none.
  defp timed_out(%{full: {bytes, _left}} = tracer, 0), do: %{tracer | full: {bytes, 0}}
  defp timed_out(tracer, 0), do: advance(tracer, tracer.to)
  defp timed_out(tracer, _timeout), do: tracer

  # Opens the next window if the time has passed the end of this one. The schedulers send their
  # trace messages one after another. So a message of a closed window may come late. It is counted
  # once in the next one, whose length says nothing of it.
  defp advance(%{to: to, last?: last?, full: full} = tracer, ts) when ts < to or last? or full != nil, do: tracer

  defp advance(%{to: to, next: next, until: until} = tracer, ts) when to == next and next < until do
    report(tracer, to, :whole)
    tracer |> open(to) |> advance(ts)
  end

  # A slice, or the last window, ends when all its messages have come.
  defp advance(tracer, _ts) do
    Trace.deliver(tracer.trace)
    %{tracer | last?: true}
  end

  # The length of a window is random, so that no spawner with a fixed interval keeps step.
  defp open(%{slice: slice, until: until} = tracer, from) do
    next = min(from + native_ms(Enum.random(@windows)), until)
    to = if slice == :whole, do: next, else: min(from + slice, next)
    %{tracer | from: from, to: to, next: next, newest: nil, spawned: 0, messages: 0, creators: 0, rows: %{}, late: %{}}
  end

  # Processes do not count that are created after the end of the slice, or after the tracing began
  # but before the tracer did.
  defp count(%{start: start, to: to} = tracer, _child, _creator, _call, ts) when ts < start or ts > to do
    bounded(tracer, ts)
  end

  defp count(%{from: from, rows: rows, late: late} = tracer, child, creator, call, ts) do
    key = {Call.of(call), creator}
    tracer = ask(tracer, key, child)
    tracer = %{tracer | spawned: tracer.spawned + 1}

    if ts < from do
      bounded(%{tracer | late: added(late, key, child)}, ts)
    else
      bounded(%{tracer | rows: added(rows, key, child), newest: {key, child}}, ts)
    end
  end

  defp added(rows, key, child) do
    Map.update(rows, key, {1, [child]}, fn {count, pids} -> {count + 1, [child | pids]} end)
  end

  defp ask(%{origin: origin, rows: rows} = tracer, key, child) do
    {count, _pids} = Map.get(rows, key, {0, []})
    if count < @max_late and Call.late?(elem(key, 0)), do: Origin.ask_late(origin, key, child)
    if count == 0, do: ask_creator(tracer, key), else: tracer
  end

  defp ask_creator(%{creators: creators} = tracer, _key) when creators >= @max_creators, do: tracer

  defp ask_creator(tracer, key) do
    Origin.ask_creator(tracer.origin, key)
    %{tracer | creators: tracer.creators + 1}
  end

  defp bounded(%{spawned: spawned, messages: messages} = tracer, ts) do
    messages = messages + 1

    if spawned >= @max_spawned or messages >= @max_messages do
      to = end_at(tracer, ts)
      report_cut(tracer, to, to - tracer.from)
    else
      loop(watch_memory(%{tracer | messages: messages}))
    end
  end

  # Once the memory is full, the tracer reads what has come by now, and then stops. A message holds
  # what made the memory full, so to drop it unread would miss the processes with large arguments.
  defp watch_memory(%{full: nil} = tracer) do
    [memory: bytes, message_queue_len: queued] = Process.info(self(), [:memory, :message_queue_len])
    if bytes > @max_memory, do: %{tracer | full: {bytes, queued}}, else: tracer
  end

  defp watch_memory(%{full: {bytes, left}} = tracer), do: %{tracer | full: {bytes, left - 1}}

  # The window ends now by the clock. The time of a large message is before the copy of it was made,
  # and that copy takes most of the time of its creator. The next slice is as much shorter as the
  # memory was too large.
  defp report_full(tracer, bytes) do
    to = end_at(tracer, System.monotonic_time())
    report_cut(tracer, to, div((to - tracer.from) * @max_memory, bytes))
  end

  defp end_at(%{from: from, to: to}, time), do: time |> max(from + min_slice()) |> min(to)

  # Reports a window that a bound has ended. The next slice is half as long as the given one.
  defp report_cut(tracer, to, slice), do: report(tracer, to, max(div(slice, 2), min_slice()), tracer.newest)

  # Returns the slice for the next window, after one that reached no bound.
  defp longer(%{slice: :whole}), do: :whole
  defp longer(%{slice: slice, messages: messages}) when messages > div(@max_spawned, 4), do: slice

  defp longer(%{slice: slice}) do
    if slice > native_ms(@windows.last), do: :whole, else: div(slice * 3, 2) + 1
  end

  # The tracer itself asks for the answers. So all questions of this window come before that, and
  # all of the next one after it.
  defp report(tracer, to, slice, newest \\ nil) do
    number = System.unique_integer([:monotonic])
    counts = Map.take(tracer, [:rows, :late, :from, :next])
    send(tracer.run, {:window, self(), Map.merge(counts, %{number: number, newest: newest, to: to, slice: slice})})
    Origin.answer(tracer.origin, number)
  end

  # A message from elsewhere is never read, so fewer than `full` tells may be left.
  defp timeout(%{full: full}) when full != nil, do: 0
  defp timeout(%{last?: true}), do: :infinity

  defp timeout(%{to: to}) do
    native = to - System.monotonic_time()
    # Rounds up, because a timeout before the end of the window would close it early.
    if native > 0, do: System.convert_time_unit(native, :native, :millisecond) + 1, else: 0
  end

  defp native_ms(ms), do: System.convert_time_unit(ms, :millisecond, :native)
  defp min_slice, do: System.convert_time_unit(@min_slice_us, :microsecond, :native)
end
