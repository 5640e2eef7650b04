defmodule Penstock.Task.Guard do
  # Stands between the consumer of a stream and its tasks, linked to all of them: a task that fails takes the
  # consumer with it, unless that traps exits, and a consumer that dies takes its tasks.
  #
  #     consumer <- link, monitor -> guard <- link -> task
  #         |                                          ^
  #         +------------------ monitor ---------------+
  #
  # It also ends the tasks that run too long: the consumer cannot, which may be busy, or suspended. No timer is kept
  # for a task. The pool knows since when each of them runs, and all may run as long; so the next look is due when the oldest
  # will have run out of time, and none that is started meanwhile can be late before that.
  @moduledoc false

  alias Penstock.Native

  # started - when each task that ran at the last look began
  # late    - tasks that were ended since, until the consumer asks
  defstruct [:gate, :consumer, :ref, :monitor, :traps?, :timeout, :look_at, started: %{}, late: []]

  @doc false
  # Linked to the caller, and monitored with `ref` as the tag.
  @spec start(Native.gate(), reference, timeout) :: pid
  def start(gate, ref, timeout) do
    {:trap_exit, traps?} = Process.info(self(), :trap_exit)
    args = [gate, self(), ref, traps?, timeout]
    {guard, _monitor} = :erlang.spawn_opt(__MODULE__, :init, args, [:link, monitor: [tag: ref]])
    guard
  end

  @doc false
  @spec init(Native.gate(), pid, reference, boolean, timeout) :: no_return
  def init(gate, consumer, ref, traps?, timeout) do
    Process.flag(:trap_exit, traps?)

    loop(%__MODULE__{
      gate: gate,
      consumer: consumer,
      ref: ref,
      monitor: Process.monitor(consumer),
      traps?: traps?,
      timeout: timeout,
      look_at: if(timeout == :infinity, do: :never, else: now() + timeout)
    })
  end

  defp loop(%{ref: ref, monitor: monitor, traps?: traps?} = state) do
    receive do
      # The consumer saw a task go down and asks why.
      {:why, {^ref, position}, task, reason} ->
        late? = task in state.late
        # As the link has it, or will.
        unless late? or traps?, do: exit(reason)
        send(state.consumer, {{ref, position}, :late?, late?})
        loop(%{state | late: List.delete(state.late, task)})

      # It has ended well, and left its stream. What runs holds permits that nobody waits for.
      {:DOWN, ^monitor, :process, _consumer, :normal} ->
        exit(:shutdown)

      {:DOWN, ^monitor, :process, _consumer, reason} ->
        exit(reason)

      # That came while a task was being ended, see below.
      {:EXIT, _pid, reason} when not traps? and reason != :normal ->
        exit(reason)

      _other ->
        loop(state)
    after
      patience(state.look_at) -> loop(look(state))
    end
  end

  defp patience(:never), do: :infinity
  defp patience(look_at), do: max(look_at - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)

  ## Tasks that run too long

  defp look(%{consumer: consumer, timeout: timeout} = state) do
    now = now()
    {:links, linked} = Process.info(self(), :links)

    started =
      for task when is_pid(task) and task != consumer <- linked, into: %{}, do: {task, started(state, task, now)}

    {late, in_time} = Enum.split_with(started, fn {_task, at} -> at + timeout <= now end)
    oldest = in_time |> Enum.map(&elem(&1, 1)) |> Enum.min(fn -> now end)
    # Not at once again, which with a timeout of 0 would be for ever.
    state = %{state | started: Map.new(in_time), look_at: max(oldest + timeout, now + 1)}
    Enum.reduce(late, state, fn {task, _at}, state -> end_late(state, task) end)
  end

  # What the pool does not say (it is about to end, or another pool has the name by now) is as it was, or begins.
  defp started(state, task, now) do
    case Native.pool_held_ms(state.gate, task) do
      age when is_integer(age) -> now - age
      _unknown -> Map.get(state.started, task, now)
    end
  end

  # The link stays until the task is dead: whenever the guard itself is killed, the task goes with it.
  defp end_late(state, task) do
    Process.flag(:trap_exit, true)
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

    Process.flag(:trap_exit, state.traps?)
    if late?, do: %{state | late: [task | state.late]}, else: state
  end
end
