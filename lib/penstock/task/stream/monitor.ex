defmodule Penstock.Task.Stream.Monitor do
  # The stream monitor: one process for each stream, between the consumer and its tasks. It is
  # linked to all of them. If the consumer dies, the stream monitor ends the tasks. If a task
  # fails, the stream monitor ends the consumer, unless the consumer traps exits or the stream is
  # made by `async_stream_nolink`.
  #
  #     consumer <- link, monitor -> stream monitor <- link -> task
  #         |                                                   ^
  #         +---------------------- monitor --------------------+
  #
  # A task that has answered unlinks itself before it ends, so its end does not wake this process.
  #
  # The stream monitor traps exits. So its links do not pass an exit on: the stream monitor sends
  # the exits itself, and kills tasks that trap exits. If only a link passed the exit on, such a
  # task would outlive the consumer and keep its permit.
  #
  # The stream monitor also ends late tasks, those that run longer than `:timeout`. The consumer
  # cannot do that, because it may be busy or suspended. There is no timer for each task. Instead,
  # a sweep looks at all tasks. The pool knows the start of each task, and all tasks have the same
  # timeout. So the oldest task becomes late first, and the next sweep is due then.
  #
  # A sweep finds tasks by the links of the stream monitor, but a task can unlink itself. So each
  # sweep also asks the consumer for its tasks. The consumer answers the next time that it waits.
  #
  # If the stream monitor is killed, its links end the tasks that do not trap exits. A consumer
  # that traps exits kills the others. A consumer that does not trap them dies by its own link,
  # and the other tasks run on with their permits.
  @moduledoc false

  alias Penstock.Native

  # traps? - `true` if a failed task must not end the consumer, because the consumer trapped exits
  #          when the stream began, or the tasks are not linked
  # sweep  - {timer, at} of the next sweep; or nil
  # asked? - `true` if the consumer owes an answer
  # late   - tasks that were killed as late, until the consumer asks about them
  defstruct [:gate, :consumer, :ref, :monitor, :traps?, :timeout, sweep: nil, asked?: false, late: []]

  # ms by which rounding may make a task seem older than it is.
  @rounded 1

  # The least ms between two sweeps while there is no task, so that a short `:timeout` does not
  # keep an idle stream busy.
  @idle 50

  # Starts the stream monitor of the calling consumer, which links to it and monitors it. Without
  # `linked?`, a failed task does not end the consumer.
  #
  # Waits until the stream monitor traps exits and monitors the consumer. If a task started before
  # that, the death of the consumer could end the stream monitor by the link, and a task that
  # traps exits would be left.
  @spec start(Native.gate(), reference, timeout, boolean) :: {pid, reference}
  def start(gate, ref, timeout, linked?) do
    {:trap_exit, traps?} = Process.info(self(), :trap_exit)
    args = [gate, self(), ref, traps? or not linked?, timeout]
    {pid, monitor} = started = :erlang.spawn_opt(__MODULE__, :init, args, [:link, :monitor])

    receive do
      {^ref, :ready} -> started
      {:DOWN, ^monitor, :process, ^pid, reason} -> exit(reason)
    end
  end

  @spec init(Native.gate(), pid, reference, boolean, timeout) :: no_return
  def init(gate, consumer, ref, traps?, timeout) do
    Process.flag(:trap_exit, true)
    monitor = Process.monitor(consumer)
    send(consumer, {ref, :ready})
    state = %__MODULE__{gate: gate, consumer: consumer, ref: ref, monitor: monitor, traps?: traps?, timeout: timeout}
    loop(if timeout == :infinity, do: state, else: plan_sweep(state, now() + timeout))
  end

  # Serves the messages to the stream monitor. A timer sends the message `:sweep`. An `after` of
  # the `receive` would instead compute a time, and set a timer, for each task that ends.
  defp loop(%{ref: ref, monitor: monitor, consumer: consumer} = state) do
    receive do
      {:EXIT, _pid, :normal} ->
        loop(state)

      {:EXIT, pid, reason} when pid != consumer ->
        if state.traps?, do: loop(state), else: leave(state, reason)

      # The consumer has seen the death of a task and asks whether the task was late. The EXIT of
      # the task came before the question. If that EXIT had to end the consumer, this process
      # would have left the loop by now.
      {:why, task} ->
        send(consumer, {ref, task, :late?, task in state.late})
        loop(%{state | late: List.delete(state.late, task)})

      # The stream was suspended. The consumer's own code may have received, and lost, the
      # question for its tasks. So this process asks again at the next sweep.
      {^ref, :resumed} ->
        loop(%{state | asked?: false})

      # The task was killed after it had answered, so the consumer will not ask whether it was
      # late.
      {:forget, task} ->
        loop(%{state | late: List.delete(state.late, task)})

      :sweep ->
        loop(sweep(state))

      {^ref, :tasks, tasks} ->
        loop(end_late(%{state | asked?: false}, tasks))

      # The consumer ended normally before its stream was over. No process awaits its tasks, so
      # they must not hold permits any longer.
      {:DOWN, ^monitor, :process, _consumer, :normal} ->
        leave(state, :shutdown)

      {:DOWN, ^monitor, :process, _consumer, reason} ->
        leave(state, reason)

      _other ->
        loop(state)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Returns the linked tasks, which are the linked processes that hold permits. This process knows
  # of a link only when it has handled the signal of that link. So it first sends itself a
  # message. When it receives that message, it has handled all signals that arrived before.
  defp linked(%{gate: gate, consumer: consumer, ref: ref}) do
    send(self(), {ref, :up_to_here})
    receive do: ({^ref, :up_to_here} -> :ok)
    {:links, linked} = Process.info(self(), :links)
    for task <- linked, is_pid(task) and task != consumer and is_integer(Native.work_ms(gate, task)), do: task
  end

  # Ends all tasks with the reason, and kills those that trap exits. Repeats this until no task is
  # linked, because a task may have begun meanwhile. Then exits with the reason, and the link ends
  # the consumer.
  defp leave(state, reason) do
    # If the consumer is dead, this revokes its offers, so that no further task adopts one.
    Native.spawn_ended(state.gate, state.consumer)

    case linked(state) do
      [] ->
        exit(reason)

      tasks ->
        monitors = for task <- tasks, do: Process.monitor(task)
        for task <- tasks, how <- [reason, :kill], do: Process.exit(task, how)
        for monitor <- monitors, do: receive(do: ({:DOWN, ^monitor, :process, _task, _reason} -> :ok))
        leave(state, reason)
    end
  end

  ## Late tasks

  # Plans a sweep for the time `at`, unless an earlier one is planned.
  defp plan_sweep(%{sweep: nil} = state, at) do
    %{state | sweep: {Process.send_after(self(), :sweep, at, abs: true), at}}
  end

  defp plan_sweep(%{sweep: {_timer, sooner}} = state, at) when sooner <= at, do: state

  defp plan_sweep(%{sweep: {timer, _later}} = state, at) do
    Process.cancel_timer(timer)
    plan_sweep(%{state | sweep: nil}, at)
  end

  defp sweep(state) do
    tasks = linked(state)
    idle = if tasks == [], do: @idle, else: 0
    state = end_late(%{state | sweep: nil}, tasks)
    unless state.asked?, do: send(state.consumer, {state.ref, self(), :tasks?, nil})
    plan_sweep(%{state | asked?: true}, now() + max(state.timeout, idle))
  end

  # Kills those of the tasks that are late. Plans a sweep for the time at which the next task
  # becomes late.
  defp end_late(%{gate: gate, timeout: timeout} = state, tasks) do
    now = now()

    Enum.reduce(tasks, state, fn task, state ->
      case Native.work_ms(gate, task) do
        age when is_integer(age) and age - @rounded >= timeout -> kill_late(state, task)
        # At least 1 ms later: with a timeout of 0, sweeps would otherwise follow without a pause.
        age when is_integer(age) -> plan_sweep(state, max(now - age + @rounded + timeout, now + 1))
        _about_to_end_or_to_begin -> state
      end
    end)
  end

  # Kills a late task. Keeps the link until the task is dead. If this process is killed meanwhile,
  # the link ends the task.
  defp kill_late(state, task) do
    monitor = Process.monitor(task)
    Process.exit(task, :kill)
    # If the reason is not `:killed`, the task ended by itself at the same instant.
    late? = receive(do: ({:DOWN, ^monitor, :process, _task, reason} -> reason == :killed))
    # No EXIT of the task comes after the unlink, but one may have come before. It is removed,
    # because the stream monitor would otherwise end the consumer for it.
    Process.unlink(task)

    receive do
      {:EXIT, ^task, _reason} -> :ok
    after
      0 -> :ok
    end

    if late?, do: %{state | late: [task | state.late]}, else: state
  end
end
