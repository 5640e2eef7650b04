defmodule Penstock.Task.Stream do
  # The consumer's side of `Penstock.Task.async_stream`: pulls elements, asks for a permit for
  # each, starts a task with it, and hands what comes back to the reducer.
  #
  # What concerns a stream comes with its reference, or as a `:DOWN` of a monitor of its own:
  #
  #     {ref, task, value}           a task's answer, its last act
  #     {:DOWN, _, _, task, why}     a task is gone
  #     {ref, task, :late?, late?}   the stream monitor says whether it took too long
  #     {ref, monitor, :tasks?, nil} the stream monitor asks which tasks there are
  #     {:DOWN, _, _, monitor, why}  the stream monitor is gone
  #     {ref, :granted | refusal}    a permit that was waited for
  #
  # The reducer is the consumer's code. While it runs, or the stream is suspended, no request is
  # parked: the stream withdraws its request first, and if that was granted at that instant,
  # starts the task. A turn that a limiter gave is kept: it belongs to the element, and is wasted
  # if the stream ends before it.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.Keyed
  alias Penstock.{Native, RejectedError}
  alias Penstock.Task.Runner
  alias Penstock.Task.Stream.{Config, Elements, Monitor, Patience}

  # next     - the elements that follow, see Penstock.Task.Stream.Elements
  # pending  - an element pulled and without a task: {element, request, wait}, where `wait` is the
  #            ms that it may still wait for a permit, or {:turn, at}; or nil
  # slots    - how many more tasks may run
  # position - of the next task
  # due      - the position whose result is delivered next; or :any
  # tasks    - pid => {monitor, position, element}, or {:asked, position, element, why it is gone}
  # done     - position => result, of tasks behind one that still runs
  # pauses   - how often the stream was suspended
  defstruct [:next, :pending, :slots, :due, position: 0, tasks: %{}, done: %{}, pauses: 0]

  # Other monitors of a task may deliver messages too.
  defguardp is_of(monitor, tasks, pid)
            when is_map_key(tasks, pid) and elem(:erlang.map_get(pid, tasks), 0) == monitor

  @spec reduce(Enumerable.acc(), Enumerable.reducer(), map) :: Enumerable.result()
  def reduce(command, reducer, options) do
    {gate, limit} = Config.gate!(options)
    ref = make_ref()
    {stream_monitor, down_ref} = Monitor.start(gate, ref, options.timeout, options.linked)

    config = %{
      reducer: reducer,
      gate: gate,
      limit: limit,
      ref: ref,
      stream_monitor: stream_monitor,
      down_ref: down_ref,
      shared: {gate, ref, stream_monitor, Runner.callers(), options.function},
      zip: options.zip_input_on_exit,
      acquire_timeout: options.acquire_timeout,
      table: nil,
      options: options
    }

    due = if options.ordered, do: 0, else: :any
    state = %__MODULE__{next: Elements.start(options.enumerable), slots: options.max_concurrency, due: due}
    run(command, state, config)
  end

  defp run({:cont, acc}, state, config), do: step(acc, state, config)

  # An older continuation may be used to halt: `Stream.zip/1` closes its streams by those from
  # before it asked for the next element, when one of them raises. The table keeps what closing
  # needs of the newest state. User code can erase the process dictionary, but not the table.
  defp run({:suspend, acc}, %{pauses: pauses} = state, config) do
    state = %{state | pauses: pauses + 1}
    config = with %{table: nil} <- config, do: %{config | table: :ets.new(__MODULE__, [:ordered_set, :private])}
    running = for {pid, {monitor, position, _element}} <- state.tasks, into: %{}, do: {pid, {monitor, position, nil}}
    :ets.insert(config.table, {:suspended, state.pauses, running, is_list(state.next)})
    {:suspended, acc, &resume(&1, state, config)}
  end

  defp run({:halt, acc}, state, config) do
    close(state, config)
    Elements.halt(state.next)
    {:halted, acc}
  end

  defp resume({what, acc} = command, %{pauses: pauses} = state, %{table: table} = config) do
    case {suspended(table), what} do
      {{^pauses, _tasks, _exhausted?}, _any} ->
        :ets.delete(table, :suspended)
        send(config.stream_monitor, {config.ref, :resumed})
        run(command, state, config)

      {{_later, tasks, exhausted?}, :halt} ->
        :ets.delete(table, :suspended)
        # The enumerable accepts older continuations too, unless it has ended.
        next = if exhausted?, do: [], else: state.next
        run(command, %{state | tasks: tasks, next: next}, config)

      {nil, :halt} ->
        {:halted, acc}

      {nil, _go_on} ->
        raise ArgumentError, "this stream is over, or was suspended by another process"

      {_later, _go_on} ->
        raise ArgumentError, "this stream has gone on since it was suspended here"
    end
  end

  # Returns how often the stream has been suspended, its tasks, and whether the enumerable has
  # ended. Returns nil if the stream is not suspended, is over, or belongs to another process,
  # since only the owner can read the table.
  defp suspended(table) do
    case :ets.lookup(table, :suspended) do
      [{:suspended, pauses, tasks, exhausted?}] -> {pauses, tasks, exhausted?}
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  # Takes the next step: deliver, start, pull, end, or wait.
  defp step(acc, %{due: due, done: done} = state, config) when is_map_key(done, due) do
    {result, done} = Map.pop!(done, due)
    deliver(result, acc, %{state | due: due + 1, done: done}, config)
  end

  defp step(acc, %{pending: {_element, _request, {:turn, _at} = turn}} = state, config) do
    if Patience.ms(turn) == 0, do: take_turn(acc, state, config), else: await(acc, state, config, turn)
  end

  defp step(acc, %{pending: {element, request, left}, next: next} = state, config) do
    admit(acc, state, config, element, request, next, left)
  end

  defp step(acc, %{slots: slots, next: next} = state, config) when slots > 0 and next != [] do
    pull(acc, state, config, next)
  end

  defp step(acc, %{next: [], tasks: tasks} = state, config) when tasks == %{} do
    close(state, config)
    {:done, acc}
  end

  defp step(acc, state, config), do: await(acc, state, config, nil)

  defp deliver(result, acc, state, config) do
    config.reducer.(result, acc)
  catch
    kind, reason -> failed(state, config, kind, reason, __STACKTRACE__)
  else
    command -> run(command, state, config)
  end

  # User code failed while the enumerable was open.
  defp failed(state, config, kind, reason, stacktrace) do
    try do
      Elements.halt(state.next)
    after
      close(state, config)
    end

    :erlang.raise(kind, reason, stacktrace)
  end

  defp pull(acc, state, config, [element | next]), do: pulled(acc, state, config, element, next)

  defp pull(acc, state, config, next) do
    Elements.next(next)
  catch
    kind, reason ->
      close(state, config)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    {:element, element, next} -> pulled(acc, state, config, element, next)
    {:none, next} -> step(acc, %{state | next: next}, config)
  end

  # `next` is what comes after the element.
  defp pulled(acc, state, %{limit: nil} = config, element, next) do
    admit(acc, state, config, element, nil, next, config.acquire_timeout)
  end

  # The functions of the user are called once for each element, however often a limiter is asked.
  defp pulled(acc, state, %{limit: {_gate, by}} = config, element, next) do
    Config.request(by, element)
  catch
    kind, reason -> failed(%{state | next: next}, config, kind, reason, __STACKTRACE__)
  else
    request -> admit(acc, state, config, element, request, next, config.acquire_timeout)
  end

  ## Permits

  defp admit(acc, state, %{limit: {gate, _by}} = config, element, request, next, left) do
    Keyed.reserve(gate, request, left)
  catch
    # The key is too large.
    kind, reason -> failed(%{state | next: next}, config, kind, reason, __STACKTRACE__)
  else
    turn -> reserved(acc, %{state | pending: {element, request, left}, next: next}, config, turn)
  end

  defp admit(acc, state, %{gate: gate} = config, element, nil, next, left) do
    case Admission.first(:spawn, gate, 1, config.acquire_timeout) do
      # Also if nothing is left of its time: then it parks, and gives up at once.
      :busy ->
        park(acc, %{state | pending: {element, nil, left}, next: next}, config, left)

      reason when is_atom(reason) ->
        refused(reason, %{state | pending: nil, next: next}, config)

      offer ->
        step(acc, launch(state, config, element, next, offer), config)
    end
  end

  defp reserved(acc, %{pending: {element, request, left}} = state, config, turn) do
    case turn do
      0 ->
        take_turn(acc, state, config)

      ms when is_integer(ms) ->
        step(acc, %{state | pending: {element, request, Patience.turn_in(ms)}}, config)

      # 1 ms more, because rounding must not make it earlier.
      {:no_place, ms} ->
        await(acc, state, config, {:limited, Patience.now() + ms + 1, Patience.until(left)})

      {:error, reason} ->
        refused(reason, state, config)

      # The gate was running when the stream began.
      gone when gone in [:gone, :no_key] ->
        refused(:closed, state, config)
    end
  end

  defp park(acc, state, %{gate: gate, ref: ref} = config, left) do
    case Native.pool_park(gate, :bound, 1, ref) do
      {instance, token} ->
        await(acc, state, config, {instance, token, Patience.until(left)})

      reason when reason in [:full, :queue_full, :closed, :deadlock, :no_pool, :badarg] ->
        refused(reason, state, config)

      instance ->
        step(acc, granted(state, config, instance), config)
    end
  end

  defp take_turn(acc, %{pending: {element, _request, _turn}, next: next} = state, config) do
    step(acc, launch(state, config, element, next, Native.spawn_take(config.gate, 1)), config)
  end

  defp granted(%{pending: {element, _request, _left}, next: next} = state, %{gate: gate} = config, instance) do
    launch(state, config, element, next, Native.spawn_offer(gate, instance, 1))
  end

  defp launch(state, %{gate: gate, shared: shared} = config, element, next, offer) do
    {pid, monitor} =
      try do
        create(config.options.under, shared, offer, element)
      catch
        # The VM has no room for another process.
        kind, reason ->
          Native.spawn_retract(gate, offer)
          close(state, config)
          Elements.halt(next)
          :erlang.raise(kind, reason, __STACKTRACE__)
      end

    Native.spawn_hand_over(gate, offer, pid)
    %{slots: slots, position: position, tasks: tasks} = state
    task = {monitor, position, if(config.zip, do: element)}
    %{state | slots: slots - 1, position: position + 1, tasks: Map.put(tasks, pid, task), next: next, pending: nil}
  end

  defp create(nil, shared, offer, element),
    do: :erlang.spawn_opt(Runner, :element, [shared, offer, element], [:monitor])

  defp create(supervisor, shared, offer, element), do: Runner.start_under(supervisor, shared, offer, element)

  # The pool was running when the stream began.
  defp refused(:no_pool, state, config), do: refused(:closed, state, config)

  defp refused(reason, state, config) do
    close(state, config)
    Elements.halt(state.next)
    raise RejectedError, gate: config.options.gate, reason: reason, permits: 1
  end

  # Withdraws a parked request; if it was granted meanwhile, starts the task.
  defp unpark(state, _config, {:turn, _at}), do: state

  defp unpark(state, _config, {:limited, _at, until}) do
    {element, request, _left} = state.pending
    %{state | pending: {element, request, Patience.left(until)}}
  end

  defp unpark(state, %{gate: gate, ref: ref} = config, {instance, token, until}) do
    case Native.pool_withdraw(gate, instance, token) do
      :cancelled ->
        {element, request, _left} = state.pending
        %{state | pending: {element, request, Patience.left(until)}}

      :too_late ->
        receive do
          {^ref, :granted} -> granted(state, config, instance)
          {^ref, reason} -> refused(reason, state, config)
        end
    end
  end

  ## Waiting for tasks, and for a permit if one is asked for

  defp await(acc, %{tasks: tasks} = state, %{ref: ref, down_ref: down_ref} = config, parked) do
    receive do
      {^ref, pid, value} ->
        answered(acc, state, config, parked, pid, value)

      {:DOWN, monitor, :process, pid, reason} when is_of(monitor, tasks, pid) ->
        gone(acc, state, config, parked, pid, reason)

      {^ref, pid, :late?, late?} ->
        told(acc, state, config, parked, pid, late?)

      {^ref, stream_monitor, :tasks?, nil} ->
        send(stream_monitor, {ref, :tasks, Map.keys(tasks)})
        await(acc, state, config, parked)

      {:DOWN, ^down_ref, :process, _guard, reason} ->
        orphaned(state, config, parked, reason)

      {^ref, :granted} ->
        {instance, _token, _until} = parked
        step(acc, granted(state, config, instance), config)

      {^ref, reason} ->
        refused(reason, state, config)
    after
      Patience.ms(parked) -> give_up(acc, state, config, parked)
    end
  end

  defp give_up(acc, state, config, {:turn, _at}), do: step(acc, state, config)

  # The stream asks the limiter again.
  defp give_up(acc, state, config, {:limited, _at, _until} = limited),
    do: step(acc, unpark(state, config, limited), config)

  defp give_up(acc, state, config, {instance, token, _until}) do
    case Native.pool_cancel(config.gate, instance, token) do
      :cancelled -> refused(:timeout, state, config)
      :too_late -> await(acc, state, config, {instance, token, :infinity})
    end
  end

  defp answered(acc, state, config, parked, pid, value) do
    {{monitor, position, _element}, tasks} = Map.pop!(state.tasks, pid)
    # The task only has to end now.
    receive do: ({:DOWN, ^monitor, :process, _pid, reason} -> forget(config, pid, reason))
    Native.spawn_ended(config.gate, pid)
    done(acc, state, config, parked, tasks, position, {:ok, value})
  end

  defp forget(_config, _pid, :normal), do: :ok
  # The task was killed after its answer. The stream monitor would remember it as late.
  defp forget(%{stream_monitor: stream_monitor}, pid, _reason), do: send(stream_monitor, {:forget, pid})

  defp gone(acc, state, config, parked, pid, reason) do
    {{_monitor, position, element}, tasks} = Map.pop!(state.tasks, pid)
    Native.spawn_ended(config.gate, pid)

    if reason == :normal do
      done(acc, state, config, parked, tasks, position, exit_of(element, reason, config))
    else
      # Unless the consumer traps exits, or the stream monitor killed the task, the monitor ends
      # the consumer now.
      send(config.stream_monitor, {:why, pid})
      tasks = Map.put(tasks, pid, {:asked, position, element, reason})
      await(acc, %{state | tasks: tasks}, config, parked)
    end
  end

  defp told(_acc, state, %{options: %{on_timeout: :exit}} = config, parked, _pid, true) do
    close(abandon(state, config, parked), config)
    exit({:timeout, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  defp told(acc, state, config, parked, pid, late?) do
    {{:asked, position, element, reason}, tasks} = Map.pop!(state.tasks, pid)
    reason = if late?, do: :timeout, else: reason
    done(acc, state, config, parked, tasks, position, exit_of(element, reason, config))
  end

  defp exit_of(element, reason, %{zip: true}), do: {:exit, {element, reason}}
  defp exit_of(_element, reason, _config), do: {:exit, reason}

  # Delivers or keeps the result of a task that was removed from `tasks`.
  defp done(acc, %{due: position, slots: slots} = state, config, parked, tasks, position, result) do
    hand_out(result, acc, %{state | slots: slots + 1, due: position + 1, tasks: tasks}, config, parked)
  end

  defp done(acc, %{due: :any, slots: slots} = state, config, parked, tasks, _position, result) do
    hand_out(result, acc, %{state | slots: slots + 1, tasks: tasks}, config, parked)
  end

  # An earlier task still runs: there is nothing to deliver, so the wait for a permit continues.
  defp done(acc, %{slots: slots, done: done} = state, config, parked, tasks, position, result) do
    state = %{state | slots: slots + 1, tasks: tasks, done: Map.put(done, position, result)}
    if parked, do: await(acc, state, config, parked), else: step(acc, state, config)
  end

  defp hand_out(result, acc, state, config, nil), do: deliver(result, acc, state, config)
  defp hand_out(result, acc, state, config, parked), do: deliver(result, acc, unpark(state, config, parked), config)

  # The stream monitor died, by a failed task or by a kill.
  defp orphaned(state, config, parked, reason) do
    unlink(config.stream_monitor)
    end_tasks(abandon(state, config, parked), config)
    forget_table(config)
    flush(config.ref)
    exit({reason, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  # Withdraws a parked request and leaves no permit behind.
  defp abandon(state, _config, nil), do: state
  defp abandon(state, _config, {:turn, _at}), do: state
  defp abandon(state, _config, {:limited, _at, _until}), do: state

  defp abandon(state, %{gate: gate, ref: ref}, {instance, token, _until}) do
    with :too_late <- Native.pool_withdraw(gate, instance, token),
         :granted <- receive(do: ({^ref, answer} -> answer)) do
      Native.run_end(gate, instance, 1)
    end

    state
  end

  ## The end

  # Ends the stream. On return no task runs, and the mailbox has no message of the stream and gets
  # none.
  #
  # The stream monitor is unlinked first, but still monitors the consumer: if the consumer dies
  # during this, it ends all tasks.
  defp close(state, %{ref: ref, stream_monitor: stream_monitor, down_ref: down_ref} = config) do
    unlink(stream_monitor)
    end_tasks(state, config)
    Process.exit(stream_monitor, :kill)
    await_down(stream_monitor, down_ref)
    forget_table(config)
    flush(ref)
  end

  # The consumer may have read the message of the first monitor while it had control.
  defp await_down(pid, monitor) do
    second = Process.monitor(pid)
    Process.demonitor(monitor, [:flush])
    receive do: ({:DOWN, ^second, :process, _pid, _reason} -> :ok)
  end

  # From then on, continuations find that the stream is over.
  defp forget_table(%{table: nil}), do: true
  defp forget_table(%{table: table}), do: :ets.delete(table)

  # No EXIT comes after the unlink; one that came before, if the consumer traps exits, is not for
  # it.
  defp unlink(stream_monitor) do
    Process.unlink(stream_monitor)

    receive do
      {:EXIT, ^stream_monitor, _reason} -> :ok
    after
      0 -> :ok
    end
  end

  defp end_tasks(state, %{gate: gate}) do
    alive = for {pid, {monitor, _position, _element}} <- state.tasks, do: {pid, monitor}
    for {pid, _monitor} <- alive, do: Process.exit(pid, :kill)

    for {pid, monitor} <- alive do
      await_down(pid, monitor)
      Native.spawn_ended(gate, pid)
    end
  end

  defp flush(ref) do
    receive do
      {^ref, _pid, _value} -> flush(ref)
      {^ref, _pid, _about, _it} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
