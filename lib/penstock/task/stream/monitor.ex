defmodule Penstock.Task.Stream.Monitor do
  # Stands between the consumer of a stream and its tasks, linked to all of them: a task that fails takes the
  # consumer with it, unless that traps exits, and a consumer that dies takes its tasks.
  #
  #     consumer <- link, monitor -> guard <- link -> task
  #         |                                          ^
  #         +------------------ monitor ---------------+
  #
  # A task that has answered undoes its link before it ends: its end need not wake the guard.
  #
  # It traps exits itself, and does by hand what its links would: so it can end the tasks that trap exits as well. Those
  # would outlive a link, and hold their permits without a consumer.
  #
  # It also ends the tasks that run too long: the consumer cannot, which may be busy, or suspended. No timer is kept for a
  # task. The pool knows since when each of them runs, and all may run as long; so the next look is due when the oldest will
  # have run out of time, and none that is started meanwhile can be late before that.
  #
  # A link can be undone by whoever has it. So at each look the consumer is asked which tasks it has; it answers when it
  # waits for them.
  #
  # Whoever kills the guard itself kills by its links only: the tasks that trap exits are left to the consumer.
  @moduledoc false

  alias Penstock.Native

  # traps? - whether the consumer did when the stream began, or does not mind tasks that fail
  # look   - {timer, at} of the next look; or nil
  # asked? - the consumer owes an answer
  # late   - tasks that were ended, until the consumer asks about them
  defstruct [:gate, :consumer, :ref, :monitor, :traps?, :timeout, look: nil, asked?: false, late: []]

  # ms that a task may seem older than it is: what is rounded off.
  @rounded 1

  # ms between two looks, at least, while no task is there to be looked at.
  @idle 50

  # Linked to the caller, and monitored by it. It is ready when this returns: before that, it would not see how the caller died,
  # and by the link alone die with it, and leave the tasks that trap exits.
  # If not `linked?`, tasks that fail are no matter to it, as if it trapped exits.
  @spec start(Native.gate(), reference, timeout, boolean) :: {pid, reference}
  def start(gate, ref, timeout, linked?) do
    {:trap_exit, traps?} = Process.info(self(), :trap_exit)
    args = [gate, self(), ref, traps? or not linked?, timeout]
    {guard, monitor} = started = :erlang.spawn_opt(__MODULE__, :init, args, [:link, :monitor])

    receive do
      {^ref, :ready} -> started
      {:DOWN, ^monitor, :process, ^guard, reason} -> exit(reason)
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

  # No clause has a time to wait: it would be computed, and a timer set, for each task that ends.
  defp loop(%{ref: ref, monitor: monitor, consumer: consumer} = state) do
    receive do
      {:EXIT, _pid, :normal} ->
        loop(state)

      {:EXIT, pid, reason} when pid != consumer ->
        if state.traps?, do: loop(state), else: leave(state, reason)

      # The consumer saw a task go down. If its link is to end us, that was here before.
      {:why, task} ->
        send(consumer, {ref, task, :late?, task in state.late})
        loop(%{state | late: List.delete(state.late, task)})

      # What it was asked while it was suspended may be lost.
      {^ref, :resumed} ->
        loop(%{state | asked?: false})

      # It had answered before it was ended.
      {:forget, task} ->
        loop(%{state | late: List.delete(state.late, task)})

      :look ->
        loop(look(state))

      {^ref, :tasks, tasks} ->
        loop(check(%{state | asked?: false}, tasks))

      # It has ended well, and left its stream. What runs holds permits that nobody waits for.
      {:DOWN, ^monitor, :process, _consumer, :normal} ->
        leave(state, :shutdown)

      {:DOWN, ^monitor, :process, _consumer, reason} ->
        leave(state, reason)

      _other ->
        loop(state)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Whoever is linked to us and holds the permits of its work. A link is there when its signal has been handled, which is not
  # before a message is received that came later.
  defp linked(%{gate: gate, consumer: consumer, ref: ref}) do
    send(self(), {ref, :up_to_here})
    receive do: ({^ref, :up_to_here} -> :ok)
    {:links, linked} = Process.info(self(), :links)
    for task <- linked, is_pid(task) and task != consumer and is_integer(Native.work_ms(gate, task)), do: task
  end

  # Ends all tasks with the reason, and those that trap exits nevertheless, and itself; by its link the consumer, if it is
  # to. Until no task is linked: one may have begun meanwhile.
  defp leave(state, reason) do
    # If the consumer is dead, what it has offered to a task is withdrawn: none begins after this.
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

  # Ends those that are late, and looks again when the next will be.
  defp check(%{gate: gate, timeout: timeout} = state, tasks) do
    now = now()

    Enum.reduce(tasks, state, fn task, state ->
      case Native.work_ms(gate, task) do
        age when is_integer(age) and age - @rounded >= timeout -> end_late(state, task)
        # Not at once again, which with a timeout of 0 would be for ever.
        age when is_integer(age) -> look_at(state, max(now - age + @rounded + timeout, now + 1))
        _about_to_end_or_to_begin -> state
      end
    end)
  end

  # The link stays until the task is dead: whenever the guard itself is killed, the task goes with it.
  defp end_late(state, task) do
    monitor = Process.monitor(task)
    Process.exit(task, :kill)
    # Anything else, and it ended by itself at that very instant.
    late? = receive(do: ({:DOWN, ^monitor, :process, _task, reason} -> reason == :killed))
    # Nothing comes by a link that is gone.
    Process.unlink(task)

    receive do
      {:EXIT, ^task, _reason} -> :ok
    after
      0 -> :ok
    end

    if late?, do: %{state | late: [task | state.late]}, else: state
  end
end
