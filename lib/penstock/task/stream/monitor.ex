defmodule Penstock.Task.Stream.Monitor do
  # Stands between the consumer of a stream and its tasks, linked to all of them: a task that
  # fails ends the consumer, unless that traps exits, and a consumer that dies ends its tasks.
  #
  #     consumer <- link, monitor -> stream monitor <- link -> task
  #         |                                                   ^
  #         +---------------------- monitor -------------------+
  #
  # A task that has answered undoes its link before it ends, so its end does not wake this
  # process.
  #
  # The stream monitor traps exits and does by hand what its links would do. So it can also end
  # tasks that trap exits, which would otherwise outlive a link and hold their permits without a
  # consumer.
  #
  # It also ends tasks that run too long, because the consumer may be busy or suspended. There is
  # no timer for each task. The pool knows the start of each task, and all tasks have the same
  # timeout. So the next look is due when the oldest task will have run out of time; no task that
  # starts later can be late before that.
  #
  # Each end of a link can undo it. So at each look this process asks the consumer for its tasks;
  # the consumer answers when it waits for them.
  #
  # A kill of the stream monitor ends tasks by their links only: the consumer must kill tasks that
  # trap exits.
  @moduledoc false

  alias Penstock.Native

  # traps? - whether the consumer trapped exits when the stream began, or takes failures as
  # results
  # look   - {timer, at} of the next look; or nil
  # asked? - the consumer owes an answer
  # late   - tasks that were ended, until the consumer asks about them
  defstruct [:gate, :consumer, :ref, :monitor, :traps?, :timeout, look: nil, asked?: false, late: []]

  # ms that a task may seem older than it is, by rounding.
  @rounded 1

  # The least ms between two looks while there is no task.
  @idle 50

  # Starts the stream monitor, linked to and monitored by the caller. It is ready on return:
  # before that it would not see the death of the caller, would die by the link, and leave tasks
  # that trap exits. Without `linked?`, failed tasks do not end the caller, as if it trapped
  # exits.
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
    loop(if timeout == :infinity, do: state, else: look_at(state, now() + timeout))
  end

  # Without `after`: its time would be computed, and a timer set, for each task that ends.
  defp loop(%{ref: ref, monitor: monitor, consumer: consumer} = state) do
    receive do
      {:EXIT, _pid, :normal} ->
        loop(state)

      {:EXIT, pid, reason} when pid != consumer ->
        if state.traps?, do: loop(state), else: leave(state, reason)

      # The consumer saw the death of a task. An EXIT of the task that ends this process came
      # before.
      {:why, task} ->
        send(consumer, {ref, task, :late?, task in state.late})
        loop(%{state | late: List.delete(state.late, task)})

      # A question that was sent while the consumer was suspended may be lost.
      {^ref, :resumed} ->
        loop(%{state | asked?: false})

      # The task had answered before it was killed.
      {:forget, task} ->
        loop(%{state | late: List.delete(state.late, task)})

      :look ->
        loop(look(state))

      {^ref, :tasks, tasks} ->
        loop(check(%{state | asked?: false}, tasks))

      # The consumer ended normally and left its stream. Its running tasks hold permits without a
      # use.
      {:DOWN, ^monitor, :process, _consumer, :normal} ->
        leave(state, :shutdown)

      {:DOWN, ^monitor, :process, _consumer, reason} ->
        leave(state, reason)

      _other ->
        loop(state)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Returns the linked processes that hold permits for their work. A link counts once its signal
  # is handled, which is certain when a message that came later is received.
  defp linked(%{gate: gate, consumer: consumer, ref: ref}) do
    send(self(), {ref, :up_to_here})
    receive do: ({^ref, :up_to_here} -> :ok)
    {:links, linked} = Process.info(self(), :links)
    for task <- linked, is_pid(task) and task != consumer and is_integer(Native.work_ms(gate, task)), do: task
  end

  # Ends all tasks with the reason, kills those that trap exits, and ends this process, which ends
  # the consumer by the link. Repeats until no task is linked, because a task may have begun
  # meanwhile.
  defp leave(state, reason) do
    # If the consumer is dead, this withdraws its offers to tasks: no task begins after it.
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

  ## Tasks that run too long

  defp look_at(%{look: nil} = state, at) do
    %{state | look: {Process.send_after(self(), :look, at, abs: true), at}}
  end

  defp look_at(%{look: {_timer, sooner}} = state, at) when sooner <= at, do: state

  defp look_at(%{look: {timer, _later}} = state, at) do
    Process.cancel_timer(timer)
    look_at(%{state | look: nil}, at)
  end

  defp look(state) do
    tasks = linked(state)
    idle = if tasks == [], do: @idle, else: 0
    state = check(%{state | look: nil}, tasks)
    unless state.asked?, do: send(state.consumer, {state.ref, self(), :tasks?, nil})
    look_at(%{state | asked?: true}, now() + max(state.timeout, idle))
  end

  # Ends tasks that are late, and plans a look for when the next one will be.
  defp check(%{gate: gate, timeout: timeout} = state, tasks) do
    now = now()

    Enum.reduce(tasks, state, fn task, state ->
      case Native.work_ms(gate, task) do
        age when is_integer(age) and age - @rounded >= timeout -> end_late(state, task)
        # Never at once, which with a timeout of 0 would never end.
        age when is_integer(age) -> look_at(state, max(now - age + @rounded + timeout, now + 1))
        _about_to_end_or_to_begin -> state
      end
    end)
  end

  # The link stays until the task is dead, so a kill of this process ends the task too.
  defp end_late(state, task) do
    monitor = Process.monitor(task)
    Process.exit(task, :kill)
    # With another reason, the task ended by itself at that instant.
    late? = receive(do: ({:DOWN, ^monitor, :process, _task, reason} -> reason == :killed))
    # After this, no EXIT comes by the link.
    Process.unlink(task)

    receive do
      {:EXIT, ^task, _reason} -> :ok
    after
      0 -> :ok
    end

    if late?, do: %{state | late: [task | state.late]}, else: state
  end
end
