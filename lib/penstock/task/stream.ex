defmodule Penstock.Task.Stream do
  # Runs `Penstock.Task.async_stream` in the consumer, the process that enumerates the stream. The
  # consumer pulls elements, asks the gate for each, starts a task for each, and passes results to
  # the reducer.
  #
  # The consumer receives these messages of a stream. Each has `ref`, the reference of the stream,
  # or is the `:DOWN` of a monitor that the stream set:
  #
  #     {ref, task, value}                   a task answers, and then only ends
  #     {:DOWN, _, _, task, reason}          a task is dead
  #     {ref, task, :late?, late?}           the stream monitor tells whether the task was late
  #     {ref, stream_monitor, :tasks?, nil}  the stream monitor asks which tasks there are
  #     {:DOWN, _, _, stream_monitor, _}     the stream monitor is dead
  #     {ref, :granted | refusal}            the answer to a parked request for a permit
  #
  # The reducer is the consumer's own code. It may run for long, or suspend the stream, and a
  # permit granted meanwhile would stay unused. So the stream withdraws its request from the wait
  # queue before it calls the reducer. If the request was granted just before, the stream starts
  # the task. The stream keeps a turn at a limiter, because the turn belongs to the element. If
  # the stream ends before the turn, the charge is lost.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{GateTurn, Keyed, KeyedWait}
  alias Penstock.{Native, RejectedError}
  alias Penstock.Task.Runner
  alias Penstock.Task.Stream.{Clock, Config, Elements, Ending, Monitor, Patience}

  # next     - the elements that follow, see Penstock.Task.Stream.Elements
  # pending  - {element, request, wait} of a pulled element without a task; or nil. `wait` is
  #            {:turn, at}, or the ms that the element can still wait for a permit
  # slots    - number of tasks that can still be added to the running ones
  # position - position of the next task
  # due      - position whose result is delivered next; :any if the stream is not ordered
  # tasks    - pid => {monitor, position, element} of a running task. For a dead task, until the
  #            stream monitor has told whether it was late: {:asked, position, element, reason}
  # done     - position => result, of tasks that ended before the task of an earlier position
  # pauses   - number of times that the stream was suspended
  # clock    - how long the pending element has waited, see Penstock.Task.Stream.Clock
  defstruct [:next, :pending, :slots, :due, :clock, position: 0, tasks: %{}, done: %{}, pauses: 0]

  # Returns `true` if the stream set this monitor of the task. User code may monitor the task too,
  # and the `:DOWN` of that monitor is not for the stream.
  defguardp is_of(monitor, tasks, pid)
            when is_map_key(tasks, pid) and elem(:erlang.map_get(pid, tasks), 0) == monitor

  @spec reduce(Enumerable.acc(), Enumerable.reducer(), map) :: Enumerable.result()
  def reduce(command, reducer, options) do
    {gate, keyed} = Config.gate!(options)
    ref = make_ref()
    {stream_monitor, down_ref} = Monitor.start(gate, ref, options.timeout, options.linked)

    config = %{
      reducer: reducer,
      gate: gate,
      keyed: keyed,
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

  # A consumer may halt the stream by an older continuation, which has an old state.
  # `Stream.zip/1` does so: if one of its streams raises, it halts the others by the continuations
  # from before the present step. So a table keeps what a halt needs of the newest state. The
  # process dictionary is not used, because user code could erase the state from it.
  defp run({:suspend, acc}, %{pauses: pauses} = state, config) do
    state = %{state | pauses: pauses + 1}
    config = with %{table: nil} <- config, do: %{config | table: :ets.new(__MODULE__, [:ordered_set, :private])}
    running = for {pid, {monitor, position, _element}} <- state.tasks, into: %{}, do: {pid, {monitor, position, nil}}
    :ets.insert(config.table, {:suspended, state.pauses, running, is_list(state.next)})
    {:suspended, acc, &resume(&1, state, config)}
  end

  defp run({:halt, acc}, state, config) do
    Ending.close(state.tasks, config)
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
        # Halts the enumerable too, by its older continuation, unless the enumerable has ended.
        next = if exhausted?, do: [], else: state.next
        run(command, %{state | tasks: tasks, next: next}, config)

      {nil, :halt} ->
        {:halted, acc}

      {nil, _continue} ->
        raise ArgumentError, "this stream is over, or was suspended by another process"

      {_later, _continue} ->
        raise ArgumentError, "this stream has gone on since it was suspended here"
    end
  end

  # Returns how often the stream has been suspended, its tasks, and whether the enumerable is a
  # list or has ended, and so needs no halt. Returns nil if the stream is not suspended, is over,
  # or was suspended by another process: only the process that made the table can read it.
  defp suspended(table) do
    case :ets.lookup(table, :suspended) do
      [{:suspended, pauses, tasks, exhausted?}] -> {pauses, tasks, exhausted?}
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  # Takes the next step of the stream, the first of these that is possible: delivers the result
  # that is due, continues with the pending element, pulls an element, ends, or waits.
  defp step(acc, %{due: due, done: done} = state, config) when is_map_key(done, due) do
    {result, done} = Map.pop!(done, due)
    deliver(result, acc, %{state | due: due + 1, done: done}, config)
  end

  defp step(acc, %{pending: {_element, _request, {:turn, _at} = turn}} = state, config) do
    if Patience.ms(turn) == 0, do: take_turn(acc, state, config), else: wait(acc, state, config, turn)
  end

  defp step(acc, %{pending: {element, request, left}, next: next} = state, config) do
    admit(acc, state, config, element, request, next, left)
  end

  defp step(acc, %{slots: slots, next: next} = state, config) when slots > 0 and next != [] do
    pull(acc, state, config, next)
  end

  defp step(acc, %{next: [], tasks: tasks} = state, config) when tasks == %{} do
    Ending.close(state.tasks, config)
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

  # Closes the stream and its enumerable after user code has failed, and raises again.
  defp failed(state, config, kind, reason, stacktrace) do
    try do
      Elements.halt(state.next)
    after
      Ending.close(state.tasks, config)
    end

    :erlang.raise(kind, reason, stacktrace)
  end

  defp pull(acc, state, config, [element | next]), do: pulled(acc, state, config, element, next)

  defp pull(acc, state, config, next) do
    Elements.next(next)
  catch
    kind, reason ->
      Ending.close(state.tasks, config)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    {:element, element, next} -> pulled(acc, state, config, element, next)
    {:none, next} -> step(acc, %{state | next: next}, config)
  end

  # Asks the gate for a pulled element. `next` are the elements that follow it.
  defp pulled(acc, state, %{keyed: nil} = config, element, next) do
    admit(acc, state, config, element, nil, next, config.acquire_timeout)
  end

  # Makes one request for each element, although the stream may ask the limiter several times. So
  # the user's functions are called once.
  defp pulled(acc, state, %{keyed: {_kind, _gate, by}} = config, element, next) do
    Config.request(by, element)
  catch
    kind, reason -> failed(%{state | next: next}, config, kind, reason, __STACKTRACE__)
  else
    request -> admit(acc, state, config, element, request, next, config.acquire_timeout)
  end

  ## Permits

  defp admit(acc, state, %{keyed: {:pool, gate, _by}} = config, element, request, next, left) do
    take_keyed(gate, request, config.ref)
  catch
    # Raises if the key of the element is too large.
    kind, reason -> failed(%{state | next: next}, config, kind, reason, __STACKTRACE__)
  else
    answer -> keyed_answer(acc, %{state | pending: {element, request, left}, next: next}, config, answer)
  end

  defp admit(acc, state, %{keyed: {:gate, gate, _by}} = config, element, request, next, left) do
    GateTurn.begin(gate, request, config.ref)
  catch
    # Raises if a key of the element is too large, or missing.
    kind, reason -> failed(%{state | next: next}, config, kind, reason, __STACKTRACE__)
  else
    turn -> gate_turn(acc, %{state | pending: {element, request, left}, next: next}, config, turn, Patience.until(left))
  end

  defp admit(acc, state, %{keyed: {:turn, gate, _by}} = config, element, request, next, left) do
    Keyed.reserve(gate, request, left)
  catch
    # `reserve/3` raises if the key of the element is too large.
    kind, reason -> failed(%{state | next: next}, config, kind, reason, __STACKTRACE__)
  else
    turn -> reserved(acc, %{state | pending: {element, request, left}, next: next}, config, turn)
  end

  defp admit(acc, state, %{gate: gate} = config, element, nil, next, left) do
    case Admission.first(:spawn, gate, 1, config.acquire_timeout) do
      # Parks even if `left` is 0, and then times out at once.
      :busy ->
        park(acc, %{state | pending: {element, nil, left}, next: next}, config, left)

      reason when is_atom(reason) ->
        refused(reason, %{state | pending: nil, next: next}, config)

      offer ->
        step(acc, launch(state, config, element, next, offer), config)
    end
  end

  # Goes on with an element at a gate of several limits.
  defp gate_turn(acc, %{pending: {element, _request, _left}, next: next} = state, config, turn, until) do
    case turn do
      {:admitted, set} -> step(acc, launch(state, config, element, next, GateTurn.offers(set, config.gate)), config)
      {:waiting, wait} -> wait(acc, state, config, {{:gate, wait}, nil, until})
      {:refused, reason} -> refused(reason, state, config)
    end
  end

  # Asks a keyed pool for a permit of the element's key, and parks if the key is full.
  defp take_keyed(gate, request, ref) do
    case Keyed.take(:spawn, gate, %{request | timeout: 0}) do
      :key_full -> KeyedWait.ask(gate, elem(request.key, 1), :bound, 1, ref)
      :again -> take_keyed(gate, request, ref)
      answer -> answer
    end
  end

  defp keyed_answer(acc, %{pending: {element, _request, left}, next: next} = state, config, answer) do
    case answer do
      offers when is_list(offers) -> step(acc, launch(state, config, element, next, offers), config)
      {:ok, lease} -> step(acc, granted(state, config, {:lease, lease}), config)
      {:waiting, lease} -> wait(acc, state, config, {{:lease, lease}, nil, Patience.until(left)})
      reason -> refused(reason, state, config)
    end
  end

  defp reserved(acc, %{pending: {element, request, left}} = state, config, turn) do
    case turn do
      0 ->
        take_turn(acc, state, config)

      ms when is_integer(ms) ->
        step(acc, %{state | pending: {element, request, Patience.turn_in(ms)}}, config)

      # The limiter's table has no place for the key. Waits 1 ms more than `ms`, so that rounding
      # does not make the next request too early.
      {:no_place, ms} ->
        wait(acc, state, config, {:limited, Patience.now() + ms + 1, Patience.until(left)})

      {:error, reason} ->
        refused(reason, state, config)

      # The gate was running when the stream began, so it has been closed since.
      gone when gone in [:gone, :no_key] ->
        refused(:closed, state, config)
    end
  end

  defp park(acc, state, %{gate: gate, ref: ref} = config, left) do
    case Native.pool_park(gate, :bound, 1, ref) do
      {instance, token} ->
        wait(acc, state, config, {instance, token, Patience.until(left)})

      reason when reason in [:full, :queue_full, :closed, :deadlock, :no_pool, :badarg] ->
        refused(reason, state, config)

      instance ->
        step(acc, granted(state, config, instance), config)
    end
  end

  defp take_turn(acc, %{pending: {element, _request, _turn}, next: next} = state, config) do
    step(acc, launch(state, config, element, next, Native.spawn_take(config.gate, 1)), config)
  end

  defp granted(%{pending: {element, _request, _left}, next: next} = state, config, {:lease, {pool, lease}}) do
    launch(state, config, element, next, Native.set_offer([{pool, lease, 1}]))
  end

  defp granted(%{pending: {element, _request, _left}, next: next} = state, %{gate: gate} = config, instance) do
    launch(state, config, element, next, Native.spawn_offer(gate, instance, 1))
  end

  defp launch(state, %{gate: gate, shared: shared} = config, element, next, offer) do
    {pid, monitor} =
      try do
        create(config.options.under, shared, offer, element)
      catch
        # The VM has no room for another process, or the supervisor did not start the task.
        kind, reason ->
          Native.spawn_retract(gate, offer)
          Ending.close(state.tasks, config)
          Elements.halt(next)
          :erlang.raise(kind, reason, __STACKTRACE__)
      end

    Native.spawn_hand_over(gate, offer, pid)
    %{slots: slots, position: position, tasks: tasks, clock: clock} = state
    task = {monitor, position, if(config.zip, do: element)}

    state = %{
      state
      | slots: slots - 1,
        position: position + 1,
        tasks: Map.put(tasks, pid, task),
        next: next,
        pending: nil
    }

    if clock, do: waited(state, config, clock), else: state
  end

  # The task has started, so a handler of the event does not delay it.
  defp waited(state, config, clock) do
    Clock.ended(clock, config, :ok)
    %{state | clock: nil}
  end

  defp create(nil, shared, offer, element),
    do: :erlang.spawn_opt(Runner, :element, [shared, offer, element], [:monitor])

  defp create(supervisor, shared, offer, element), do: Runner.start_under(supervisor, shared, offer, element)

  # The pool was running when the stream began, so it has been closed since.
  defp refused(:no_pool, state, config), do: refused(:closed, state, config)

  defp refused(reason, state, config) do
    Ending.close(state.tasks, config)
    Elements.halt(state.next)
    Clock.ended(state.clock, config, {:error, reason})
    raise RejectedError, gate: config.options.gate, reason: reason, permits: 1
  end

  # Stops the wait for the pending element, by the kind of the wait:
  #
  #   * a turn at a limiter: keeps the turn
  #   * a place in a limiter's table (`:limited`): keeps the ms that the element can still wait
  #   * a permit of a pool: withdraws the parked request, and keeps the ms that the element can
  #     still wait. If the request was granted meanwhile, starts the task
  defp suspend_wait(state, _config, {:turn, _at}), do: %{state | clock: Clock.stop(state.clock)}

  defp suspend_wait(state, _config, {:limited, _at, until}), do: stop_waiting(state, until)

  # Gives back what the element has got of the gate's limits, and asks for all of it again later.
  defp suspend_wait(state, %{ref: ref}, {{:gate, wait}, nil, until}) do
    GateTurn.withdraw(wait, ref)
    stop_waiting(state, until)
  end

  defp suspend_wait(state, %{gate: gate, ref: ref} = config, {instance, token, until}) do
    case withdraw_request(gate, instance, token) do
      :cancelled ->
        stop_waiting(state, until)

      :too_late ->
        receive do
          {^ref, :granted} -> granted(state, config, instance)
          {^ref, reason} -> refused(KeyedWait.reason(reason, config.keyed), state, config)
        end
    end
  end

  defp stop_waiting(%{pending: {element, request, _left}, clock: clock} = state, until),
    do: %{state | pending: {element, request, Patience.left(until)}, clock: Clock.stop(clock)}

  ## Waiting for tasks, and for a permit if one is asked for

  defp wait(acc, state, config, parked), do: await(acc, %{state | clock: Clock.start(state.clock)}, config, parked)

  defp await(acc, %{tasks: tasks} = state, %{ref: ref, down_ref: down_ref} = config, parked) do
    receive do
      {^ref, pid, value} ->
        task_answered(acc, state, config, parked, pid, value)

      {:DOWN, monitor, :process, pid, reason} when is_of(monitor, tasks, pid) ->
        task_down(acc, state, config, parked, pid, reason)

      {^ref, pid, :late?, late?} ->
        late_told(acc, state, config, parked, pid, late?)

      {^ref, stream_monitor, :tasks?, nil} ->
        send(stream_monitor, {ref, :tasks, Map.keys(tasks)})
        await(acc, state, config, parked)

      {:DOWN, ^down_ref, :process, _stream_monitor, reason} ->
        monitor_down(state, config, parked, reason)

      {^ref, :granted} ->
        grant(acc, state, config, parked)

      {^ref, reason} ->
        refused(answered(parked, reason, config), state, config)
    after
      Patience.ms(parked) -> wait_over(acc, state, config, parked)
    end
  end

  defp grant(acc, state, %{ref: ref} = config, {{:gate, wait}, nil, until}),
    do: gate_turn(acc, state, config, GateTurn.granted(wait, ref), until)

  defp grant(acc, state, config, {instance, _token, _until}), do: step(acc, granted(state, config, instance), config)

  # Returns the reason of a refusal that ended a wait.
  defp answered({{:gate, wait}, nil, _until}, reason, _config), do: GateTurn.refused(wait, reason)
  defp answered(_parked, reason, config), do: KeyedWait.reason(reason, config.keyed)

  defp wait_over(acc, state, config, {:turn, _at}), do: step(acc, state, config)

  # The wait for a place in the limiter's table is over: the next step asks the limiter again.
  defp wait_over(acc, state, config, {:limited, _at, _until} = limited),
    do: step(acc, suspend_wait(state, config, limited), config)

  defp wait_over(acc, state, config, {{:gate, wait}, nil, _until}) do
    case GateTurn.cancel(wait) do
      :cancelled -> refused(GateTurn.refused(wait, :timeout), state, config)
      :too_late -> await(acc, state, config, {{:gate, wait}, nil, :infinity})
    end
  end

  defp wait_over(acc, state, config, {instance, token, _until}) do
    case cancel_request(config.gate, instance, token) do
      :cancelled -> refused(:timeout, state, config)
      :too_late -> await(acc, state, config, {instance, token, :infinity})
    end
  end

  defp task_answered(acc, state, config, parked, pid, value) do
    {{monitor, position, _element}, tasks} = Map.pop!(state.tasks, pid)
    # Waits for the task to end, which it does at once.
    receive do: ({:DOWN, ^monitor, :process, _pid, reason} -> forget_late(config, pid, reason))
    Native.spawn_ended(config.gate, pid)
    task_done(acc, state, config, parked, tasks, position, {:ok, value})
  end

  defp forget_late(_config, _pid, :normal), do: :ok
  # The task was killed after it had answered. If the stream monitor killed it as late, the stream
  # monitor remembers it until the consumer asks. The consumer will not ask about this task, so
  # the stream monitor is told to forget it.
  defp forget_late(%{stream_monitor: stream_monitor}, pid, _reason), do: send(stream_monitor, {:forget, pid})

  defp task_down(acc, state, config, parked, pid, reason) do
    {{_monitor, position, element}, tasks} = Map.pop!(state.tasks, pid)
    Native.spawn_ended(config.gate, pid)

    if reason == :normal do
      task_done(acc, state, config, parked, tasks, position, exit_of(element, reason, config))
    else
      # Asks whether the task was late. The stream monitor answers if it has killed the task as
      # late, or if a failed task does not end the consumer. Otherwise it is about to end the
      # consumer.
      send(config.stream_monitor, {:why, pid})
      tasks = Map.put(tasks, pid, {:asked, position, element, reason})
      await(acc, %{state | tasks: tasks}, config, parked)
    end
  end

  defp late_told(_acc, state, %{options: %{on_timeout: :exit}} = config, parked, _pid, true) do
    withdraw(parked, config)
    Ending.close(state.tasks, config)
    exit({:timeout, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  defp late_told(acc, state, config, parked, pid, late?) do
    {{:asked, position, element, reason}, tasks} = Map.pop!(state.tasks, pid)
    reason = if late?, do: :timeout, else: reason
    task_done(acc, state, config, parked, tasks, position, exit_of(element, reason, config))
  end

  defp exit_of(element, reason, %{zip: true}), do: {:exit, {element, reason}}
  defp exit_of(_element, reason, _config), do: {:exit, reason}

  # Delivers the result of a task, or keeps it until it is due. `tasks` no longer has the task.
  defp task_done(acc, %{due: position, slots: slots} = state, config, parked, tasks, position, result) do
    deliver_due(result, acc, %{state | slots: slots + 1, due: position + 1, tasks: tasks}, config, parked)
  end

  defp task_done(acc, %{due: :any, slots: slots} = state, config, parked, tasks, _position, result) do
    deliver_due(result, acc, %{state | slots: slots + 1, tasks: tasks}, config, parked)
  end

  # The result is not due. So the reducer is not called, and a wait for a permit continues.
  defp task_done(acc, %{slots: slots, done: done} = state, config, parked, tasks, position, result) do
    state = %{state | slots: slots + 1, tasks: tasks, done: Map.put(done, position, result)}
    if parked, do: await(acc, state, config, parked), else: step(acc, state, config)
  end

  defp deliver_due(result, acc, state, config, nil), do: deliver(result, acc, state, config)

  defp deliver_due(result, acc, state, config, parked),
    do: deliver(result, acc, suspend_wait(state, config, parked), config)

  # Ends the stream when the stream monitor has died: it ends with a task that failed, or it was
  # killed.
  defp monitor_down(state, config, parked, reason) do
    Ending.unlink(config.stream_monitor)
    withdraw(parked, config)
    Ending.without_monitor(state.tasks, config)
    exit({reason, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  # Withdraws a parked request. If it was granted meanwhile, releases the permit.
  defp withdraw(nil, _config), do: :ok
  defp withdraw({:turn, _at}, _config), do: :ok
  defp withdraw({:limited, _at, _until}, _config), do: :ok

  defp withdraw({{:gate, wait}, nil, _until}, %{ref: ref}), do: GateTurn.withdraw(wait, ref)

  defp withdraw({instance, token, _until}, %{gate: gate, ref: ref}) do
    with :too_late <- withdraw_request(gate, instance, token),
         :granted <- receive(do: ({^ref, answer} -> answer)) do
      Native.run_end(gate, held(instance), 1)
    end
  end

  defp held({:lease, {pool, lease}}), do: [{pool, lease, 1}]
  defp held(instance), do: instance

  # Ends a parked request before its time is over. A request of a keyed pool is named by its lease.
  defp withdraw_request(_gate, {:lease, {pool, lease}}, _token), do: Native.keyed_withdraw(pool, lease)
  defp withdraw_request(gate, instance, token), do: Native.pool_withdraw(gate, instance, token)

  # Ends a parked request whose time is over.
  defp cancel_request(_gate, {:lease, {pool, lease}}, _token), do: Native.keyed_cancel(pool, lease)
  defp cancel_request(gate, instance, token), do: Native.pool_cancel(gate, instance, token)
end
