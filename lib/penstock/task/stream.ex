defmodule Penstock.Task.Stream do
  # The consumer's side of `Penstock.Task.async_stream`: pulls elements, asks for a permit for each, starts a task
  # with it, and hands what comes back to the reducer.
  #
  # All that concerns a stream comes with its reference:
  #
  #     {{ref, position}, value}                      a task's answer, its last act
  #     {{ref, position}, monitor, :process, _, why}  a task is gone
  #     {{ref, position}, :late?, boolean}            the guard says whether it took too long
  #     {ref, monitor, :process, guard, why}          the guard is gone
  #     {ref, :granted | refusal}                     a permit that was waited for
  #
  # The reducer is the consumer's code. Whenever it is called, or the stream suspended, nothing is parked: what
  # was asked for is withdrawn first, and if it has been granted at that instant, its task is started.
  @moduledoc false

  alias Penstock.{GateRef, Native, RejectedError}
  alias Penstock.Task.{Guard, Work}

  # next     - the rest of a list, or what gives the next element; [] if there is none
  # pending  - {element, ms it may yet wait for a permit}, pulled and without a task; or nil
  # slots    - how many more tasks may run
  # position - of the next task
  # due      - the position whose result is delivered next; or :any
  # tasks    - position => {:running, pid, instance, element} | {:asked, element, why} | {:done, result}
  # ready    - results to deliver now
  defstruct [:next, :pending, :slots, :due, position: 0, tasks: %{}, ready: []]

  @doc false
  @spec reduce(Enumerable.acc(), Enumerable.reducer(), map) :: Enumerable.result()
  def reduce(command, reducer, options) do
    gate = GateRef.running!(options.gate)
    ref = make_ref()
    guard = Guard.start(gate, ref, options.timeout)
    callers = [self() | Process.get(:"$callers") || []]

    config = %{
      reducer: reducer,
      gate: gate,
      ref: ref,
      guard: guard,
      stream: {gate, ref, guard, callers, options.function},
      options: options
    }

    due = if options.ordered, do: 0, else: :any
    state = %__MODULE__{next: source(options.enumerable), slots: options.max_concurrency, due: due}
    run(command, state, config)
  end

  defp source(list) when is_list(list), do: list
  defp source(other), do: &Enumerable.reduce(other, &1, fn element, nil -> {:suspend, {:element, element}} end)

  defp run({:cont, acc}, state, config), do: step(acc, state, config)

  # Not in the continuation: the one that is used in the end may be older than the stream. So `Stream.zip/1` closes its
  # streams when one of them raises, by what it had of them before it asked them for the next element.
  defp run({:suspend, acc}, state, %{ref: ref} = config) do
    Process.put({__MODULE__, ref}, state)
    {:suspended, acc, &resume(&1, config)}
  end

  defp run({:halt, acc}, state, config) do
    close(state, config)
    halt(state.next)
    {:halted, acc}
  end

  defp resume({_command, acc} = command, %{ref: ref} = config) do
    case Process.delete({__MODULE__, ref}) do
      nil -> {:halted, acc}
      state -> run(command, state, config)
    end
  end

  # What is next: deliver, start, pull, end, or wait.
  defp step(acc, state, config) do
    case state do
      %{ready: [result | ready]} -> deliver(result, acc, %{state | ready: ready}, config)
      %{pending: {element, left}} -> admit(acc, %{state | pending: nil}, config, element, left)
      %{next: [], tasks: tasks} when tasks == %{} -> finish(acc, state, config)
      %{next: next, slots: slots} when slots > 0 and next != [] -> pull(acc, state, config)
      %{} -> await(acc, state, config, nil)
    end
  end

  defp deliver(result, acc, state, config) do
    config.reducer.(result, acc)
  catch
    kind, reason ->
      stacktrace = __STACKTRACE__

      try do
        halt(state.next)
      after
        close(state, config)
      end

      :erlang.raise(kind, reason, stacktrace)
  else
    command -> run(command, state, config)
  end

  defp finish(acc, state, config) do
    close(state, config)
    {:done, acc}
  end

  defp pull(acc, %{next: [element | next]} = state, config), do: admit(acc, %{state | next: next}, config, element)

  defp pull(acc, %{next: next} = state, config) do
    more(next)
  catch
    kind, reason ->
      close(state, config)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    {:suspended, {:element, element}, next} -> admit(acc, %{state | next: next}, config, element)
    # The last, by an enumerable that knew it.
    {_done_or_halted, {:element, element}} -> admit(acc, %{state | next: []}, config, element)
    {_done_or_halted, nil} -> step(acc, %{state | next: []}, config)
  end

  defp more(next) when is_function(next), do: next.({:cont, nil})
  # The tail of a list that is not one: raises as it does elsewhere.
  defp more(tail), do: Enumerable.List.reduce(tail, {:cont, nil}, fn _element, acc -> {:cont, acc} end)

  ## Permits

  defp admit(acc, state, config, element), do: admit(acc, state, config, element, config.options.acquire_timeout)

  defp admit(acc, state, %{gate: gate} = config, element, left) do
    case ask(gate, left) do
      {instance, token} -> step(acc, launch(state, config, element, instance, token), config)
      :busy -> park(acc, %{state | pending: {element, left}}, config, left)
      reason -> refused(reason, state, config)
    end
  end

  defp ask(gate, 0) do
    case Native.spawn_try(gate, 1) do
      :again -> ask(gate, 0)
      offered_or_refused -> offered_or_refused
    end
  end

  defp ask(gate, _left), do: Native.spawn_take(gate, 1)

  defp park(acc, state, %{gate: gate, ref: ref} = config, left) do
    case Native.pool_park(gate, :bound, 1, ref) do
      {instance, token} ->
        await(acc, state, config, {instance, token, until(left)})

      reason when reason in [:full, :queue_full, :closed, :no_pool, :badarg] ->
        refused(reason, state, config)

      instance ->
        step(acc, granted(state, config, instance), config)
    end
  end

  defp until(:infinity), do: :infinity
  defp until(left), do: now() + left

  defp now, do: System.monotonic_time(:millisecond)

  defp granted(%{pending: {element, _left}} = state, %{gate: gate} = config, instance) do
    launch(%{state | pending: nil}, config, element, instance, Native.spawn_offer(gate, instance, 1))
  end

  defp launch(state, config, element, instance, token) do
    %{slots: slots, position: position, tasks: tasks} = state
    %{gate: gate, ref: ref, stream: stream} = config
    args = [stream, instance, token, position, element]

    {pid, _monitor} =
      try do
        :erlang.spawn_opt(Work, :element, args, monitor: [tag: {ref, position}])
      catch
        # No place for another process.
        kind, reason ->
          Native.spawn_retract(gate, instance, token)
          close(state, config)
          halt(state.next)
          :erlang.raise(kind, reason, __STACKTRACE__)
      end

    Native.spawn_hand_over(gate, instance, token, pid)
    task = {:running, pid, instance, if(config.options.zip_input_on_exit, do: element)}
    %{state | slots: slots - 1, position: position + 1, tasks: Map.put(tasks, position, task)}
  end

  # The pool was there when the stream began.
  defp refused(:no_pool, state, config), do: refused(:closed, state, config)

  # It waited, in parts: what was left came to nothing.
  defp refused(:full, state, %{options: %{acquire_timeout: waited}} = config) when waited != 0,
    do: refused(:timeout, state, config)

  defp refused(reason, state, config) do
    close(state, config)
    halt(state.next)
    raise RejectedError, gate: config.options.gate, reason: reason
  end

  # No wait is left behind; if it was granted meanwhile, the task is started.
  defp unpark(state, %{gate: gate, ref: ref} = config, {instance, token, until}) do
    case Native.pool_cancel(gate, instance, token) do
      :cancelled ->
        {element, _left} = state.pending
        %{state | pending: {element, left(until)}}

      :too_late ->
        receive do
          {^ref, :granted} -> granted(state, config, instance)
          {^ref, reason} -> refused(reason, state, config)
        end
    end
  end

  defp left(:infinity), do: :infinity
  defp left(until), do: max(until - now(), 0)

  ## Waiting, for tasks and perhaps for a permit

  defp await(acc, state, %{ref: ref} = config, parked) do
    receive do
      {{^ref, position}, value} ->
        # It has nothing left to do but to end.
        receive do: ({{^ref, ^position}, _monitor, :process, _pid, _reason} -> :ok)
        {:running, pid, instance, _element} = Map.fetch!(state.tasks, position)
        Native.spawn_ended(config.gate, instance, pid)
        done(acc, state, config, parked, position, {:ok, value})

      {{^ref, position}, _monitor, :process, _pid, reason} ->
        gone(acc, state, config, parked, position, reason)

      {{^ref, position}, :late?, late?} ->
        told(acc, state, config, parked, position, late?)

      {^ref, _monitor, :process, _guard, reason} ->
        orphaned(state, config, parked, reason)

      {^ref, :granted} ->
        {instance, _token, _until} = parked
        step(acc, granted(state, config, instance), config)

      {^ref, reason} ->
        refused(reason, state, config)
    after
      patience(parked) -> give_up(acc, state, config, parked)
    end
  end

  defp patience(nil), do: :infinity
  defp patience({_instance, _token, until}), do: left(until)

  defp give_up(acc, state, config, {instance, token, _until}) do
    case Native.pool_cancel(config.gate, instance, token) do
      :cancelled -> refused(:timeout, state, config)
      :too_late -> await(acc, state, config, {instance, token, :infinity})
    end
  end

  defp gone(acc, state, config, parked, position, reason) do
    {:running, pid, instance, element} = Map.fetch!(state.tasks, position)
    Native.spawn_ended(config.gate, instance, pid)

    if reason == :normal do
      done(acc, state, config, parked, position, exit_of(element, reason, config))
    else
      # If we do not trap exits, this is the end of us, by the guard's hand; unless it was the guard that ended the task.
      send(config.guard, {:why, {config.ref, position}, pid, reason})
      await(acc, put_task(state, position, {:asked, element, reason}), config, parked)
    end
  end

  defp put_task(state, position, task), do: %{state | tasks: Map.put(state.tasks, position, task)}

  defp told(_acc, state, %{options: %{on_timeout: :exit}} = config, parked, _position, true) do
    close(abandon(state, config, parked), config)
    exit({:timeout, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  defp told(acc, state, config, parked, position, late?) do
    {:asked, element, reason} = state.tasks[position]
    reason = if late?, do: :timeout, else: reason
    done(acc, state, config, parked, position, exit_of(element, reason, config))
  end

  defp exit_of(element, reason, %{options: %{zip_input_on_exit: true}}), do: {:exit, {element, reason}}
  defp exit_of(_element, reason, _config), do: {:exit, reason}

  # A task is over.
  defp done(acc, %{due: position} = state, config, parked, position, result) do
    {ready, due, tasks} = in_order(position + 1, Map.delete(state.tasks, position), [])
    hand_out(result, acc, %{state | slots: state.slots + 1, due: due, tasks: tasks, ready: ready}, config, parked)
  end

  defp done(acc, %{due: :any, tasks: tasks} = state, config, parked, position, result) do
    hand_out(result, acc, %{state | slots: state.slots + 1, tasks: Map.delete(tasks, position)}, config, parked)
  end

  # Behind one that still runs: nothing to deliver, so the wait for a permit goes on.
  defp done(acc, state, config, parked, position, result) do
    state = put_task(%{state | slots: state.slots + 1}, position, {:done, result})
    if parked, do: await(acc, state, config, parked), else: step(acc, state, config)
  end

  defp in_order(due, tasks, ready) do
    case tasks do
      %{^due => {:done, result}} -> in_order(due + 1, Map.delete(tasks, due), [result | ready])
      %{} -> {Enum.reverse(ready), due, tasks}
    end
  end

  defp hand_out(result, acc, state, config, nil), do: deliver(result, acc, state, config)
  defp hand_out(result, acc, state, config, parked), do: deliver(result, acc, unpark(state, config, parked), config)

  # The guard died: by a task that failed, or by somebody's hand.
  defp orphaned(state, config, parked, reason) do
    unlink(config.guard)
    end_tasks(abandon(state, config, parked), config)
    exit({reason, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  # No wait is left behind, and no permit.
  defp abandon(state, _config, nil), do: state

  defp abandon(state, %{gate: gate, ref: ref}, {instance, token, _until}) do
    with :too_late <- Native.pool_cancel(gate, instance, token),
         :granted <- receive(do: ({^ref, answer} -> answer)) do
      Native.run_end(gate, instance, 1)
    end

    state
  end

  ## The end

  defp halt(next) when is_function(next), do: next.({:halt, nil})
  defp halt(_list), do: :ok

  # When this returns, no task runs, and nothing of the stream is in the mailbox or will be.
  #
  # The guard first: it would take us with it. It watches us, so our own death in the middle of this still ends all.
  defp close(state, %{ref: ref, guard: guard} = config) do
    unlink(guard)
    Process.exit(guard, :kill)
    receive do: ({^ref, _monitor, :process, ^guard, _reason} -> :ok)
    end_tasks(state, config)
  end

  # Nothing comes by a link that is gone; what has come before, if we trap exits, is not the consumer's.
  defp unlink(guard) do
    Process.unlink(guard)

    receive do
      {:EXIT, ^guard, _reason} -> :ok
    after
      0 -> :ok
    end
  end

  # Those that trap exits have outlived the guard.
  defp end_tasks(state, %{gate: gate, ref: ref}) do
    alive = for {position, {:running, pid, instance, _element}} <- state.tasks, do: {position, pid, instance}
    for {_position, pid, _instance} <- alive, do: Process.exit(pid, :kill)

    for {position, pid, instance} <- alive do
      receive do: ({{^ref, ^position}, _monitor, :process, _pid, _reason} -> :ok)
      Native.spawn_ended(gate, instance, pid)
    end

    flush(ref)
  end

  defp flush(ref) do
    receive do
      {{^ref, _position}, _value} -> flush(ref)
      {{^ref, _position}, :late?, _late?} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
