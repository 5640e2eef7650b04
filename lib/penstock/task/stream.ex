defmodule Penstock.Task.Stream do
  # The consumer's side of `Penstock.Task.async_stream`: pulls elements, asks for a permit for each, starts a task
  # with it, and hands what comes back to the reducer.
  #
  # What concerns a stream comes with its reference, or as a `:DOWN` of a monitor of its own:
  #
  #     {ref, task, value}           a task's answer, its last act
  #     {:DOWN, _, _, task, why}     a task is gone
  #     {ref, task, :late?, late?}   the guard says whether it took too long
  #     {ref, guard, :tasks?, nil}   the guard asks which tasks there are
  #     {:DOWN, _, _, guard, why}    the guard is gone
  #     {ref, :granted | refusal}    a permit that was waited for
  #
  # The reducer is the consumer's code. Whenever it is called, or the stream suspended, nothing is parked: what
  # was asked for is withdrawn first, and if it has been granted at that instant, its task is started. A turn that a limiter
  # gave is kept: it is the element's, and wasted if the stream ends before.
  @moduledoc false

  alias Penstock.Admission
  alias Penstock.Admission.{KeySize, Keyed, Request, Resolver}
  alias Penstock.{Native, Options, RejectedError}
  alias Penstock.Task.Runner
  alias Penstock.Task.Stream.Monitor

  # next     - the rest of a list; {:more, fun}, which gives the next element; or
  #            {:queue, elements, next}; [] if there is none
  # pending  - an element pulled and without a task: {element, request, ms it may yet wait for a permit,
  #            or {:turn, at}}; or nil
  # slots    - how many more tasks may run
  # position - of the next task
  # due      - the position whose result is delivered next; or :any
  # tasks    - pid => {monitor, position, element}, or {:asked, position, element, why it is gone}
  # done     - position => result, of tasks behind one that still runs
  # pauses   - how often the stream was suspended
  defstruct [:next, :pending, :slots, :due, position: 0, tasks: %{}, done: %{}, pauses: 0]

  # Others may monitor a task as well.
  defguardp is_of(monitor, tasks, pid)
            when is_map_key(tasks, pid) and elem(:erlang.map_get(pid, tasks), 0) == monitor

  @options [:max_concurrency, :ordered, :timeout, :on_timeout, :zip_input_on_exit, :acquire_timeout, :key, :cost]

  # Elements that an enumerable may give in one step. An endless one that never pauses must not
  # fill the memory.
  @most_in_one_step 1_000_000

  # ms that one `receive` can wait.
  @longest_wait 0xFFFF_FFFF
  @ns_per_ms 1_000_000

  @spec known_options() :: [atom, ...]
  def known_options, do: @options

  # What `reduce/3` is given of a stream. `under` says what supervisor its tasks are under, and `linked` whether the consumer
  # shares the fate of those that fail.
  @spec options!(Resolver.gate(), term, Runner.element_call(), keyword, Runner.supervisor() | nil, boolean) :: map
  def options!(gate, enumerable, function, opts, under \\ nil, linked \\ true) do
    %{
      gate: gate,
      enumerable: enumerable,
      function: function,
      under: under,
      linked: linked,
      max_concurrency:
        Options.permits!(Keyword.get_lazy(opts, :max_concurrency, &System.schedulers_online/0), ":max_concurrency"),
      ordered: Options.boolean!(Keyword.get(opts, :ordered, true), ":ordered"),
      timeout: Options.timeout!(Keyword.get(opts, :timeout, 5_000)),
      on_timeout: Options.one_of!(Keyword.get(opts, :on_timeout, :exit), ":on_timeout", [:exit, :kill_task]),
      zip_input_on_exit: Options.boolean!(Keyword.get(opts, :zip_input_on_exit, false), ":zip_input_on_exit"),
      acquire_timeout: Options.timeout!(Keyword.get(opts, :acquire_timeout, :infinity), ":acquire_timeout"),
      by: by!(opts)
    }
  end

  @spec reduce(Enumerable.acc(), Enumerable.reducer(), map) :: Enumerable.result()
  def reduce(command, reducer, options) do
    {gate, limit} = gate!(options)
    ref = make_ref()
    {guard, guard_monitor} = Monitor.start(gate, ref, options.timeout, options.linked)

    config = %{
      reducer: reducer,
      gate: gate,
      limit: limit,
      ref: ref,
      guard: guard,
      guard_monitor: guard_monitor,
      shared: {gate, ref, guard, Runner.callers(), options.function},
      zip: options.zip_input_on_exit,
      acquire_timeout: options.acquire_timeout,
      table: nil,
      options: options
    }

    due = if options.ordered, do: 0, else: :any
    state = %__MODULE__{next: source(options.enumerable), slots: options.max_concurrency, due: due}
    run(command, state, config)
  end

  # Returns {request, functions}: a limiter or a ban admits by the request, in which each function
  # puts its part for each element. The rest is checked before anything is started.
  defp by!(opts) do
    by = for option <- [:key, :cost], {:ok, value} <- [Keyword.fetch(opts, option)], do: {option, value}
    {functions, fixed} = Enum.split_with(by, fn {_option, value} -> is_function(value, 1) end)
    request = put(%Request{}, fixed)
    with {:key, key} <- request.key, do: KeySize.check!(key)
    {request, Map.new(functions)}
  end

  defp put(request, options),
    do: Enum.reduce(options, request, fn {option, value}, r -> Request.put!(r, option, value) end)

  defp request({request, functions}, _element) when functions == %{}, do: request

  defp request({request, functions}, element),
    do: put(request, for({option, fun} <- functions, do: {option, fun.(element)}))

  # Returns the pool that permits are of, and the limiter or ban that is asked before, if the gate is one.
  defp gate!(%{gate: gate, by: {request, functions} = by}) do
    case Resolver.kind!(gate) do
      :pool -> {Resolver.ref!(gate), nil}
      # Raises, as a ban admits by a key.
      :ban when request.key == :none and not is_map_key(functions, :key) -> Keyed.admit(gate, request)
      _limiter_or_ban -> {Keyed.unlimited_pool(), {gate, by}}
    end
  end

  defp source(list) when is_list(list), do: list
  defp source(other), do: {:more, &Enumerable.reduce(other, &1, fn element, acc -> pause(element, acc) end)}

  # Some streams undo the pause after an element, as `Stream.take/2` does after its last element
  # inside of `Stream.concat/2`. Then one step gives several elements; the last comes first here.
  defp pause(element, nil), do: {:suspend, {:element, element}}
  defp pause(element, {:element, first}), do: {:suspend, {:elements, 2, [element, first]}}

  defp pause(element, {:elements, n, elements}) when n < @most_in_one_step do
    {:suspend, {:elements, n + 1, [element | elements]}}
  end

  defp pause(_element, {:elements, n, _elements}) do
    what = "to pause after each element (a stream inside of it, such as one of Stream.take/2, may undo pauses)"
    raise ArgumentError, "expected the enumerable #{what}, got: #{n} elements and no pause"
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
    halt(state.next)
    {:halted, acc}
  end

  defp resume({what, acc} = command, %{pauses: pauses} = state, %{table: table} = config) do
    case {suspended(table), what} do
      {{^pauses, _tasks, _exhausted?}, _any} ->
        :ets.delete(table, :suspended)
        send(config.guard, {config.ref, :resumed})
        run(command, state, config)

      {{_later, tasks, exhausted?}, :halt} ->
        :ets.delete(table, :suspended)
        # The enumerable knows older continuations as well as we do, unless it has ended.
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

  # What is next: deliver, start, pull, end, or wait.
  defp step(acc, %{due: due, done: done} = state, config) when is_map_key(done, due) do
    {result, done} = Map.pop!(done, due)
    deliver(result, acc, %{state | due: due + 1, done: done}, config)
  end

  defp step(acc, %{pending: {_element, _request, {:turn, _at} = turn}} = state, config) do
    if patience(turn) == 0, do: take_turn(acc, state, config), else: await(acc, state, config, turn)
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
      halt(state.next)
    after
      close(state, config)
    end

    :erlang.raise(kind, reason, stacktrace)
  end

  defp pull(acc, state, config, [element | next]), do: pulled(acc, state, config, element, next)

  defp pull(acc, state, config, {:queue, [element], next}), do: pulled(acc, state, config, element, next)

  defp pull(acc, state, config, {:queue, [element | more], next}) do
    pulled(acc, state, config, element, {:queue, more, next})
  end

  defp pull(acc, state, config, next) do
    more(next)
  catch
    kind, reason ->
      close(state, config)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    {:suspended, {:element, element}, next} ->
      pulled(acc, state, config, element, {:more, next})

    {:suspended, {:elements, _n, elements}, next} ->
      pull(acc, state, config, {:queue, Enum.reverse(elements), {:more, next}})

    # A pause without an element.
    {:suspended, nil, next} ->
      step(acc, %{state | next: {:more, next}}, config)

    # The last, by an enumerable that knew it.
    {_done_or_halted, {:element, element}} ->
      pulled(acc, state, config, element, [])

    {_done_or_halted, {:elements, _n, elements}} ->
      pull(acc, state, config, Enum.reverse(elements))

    {_done_or_halted, nil} ->
      step(acc, %{state | next: []}, config)
  end

  defp more({:more, next}), do: next.({:cont, nil})
  # The tail of a list that is not one: raises as it does elsewhere.
  defp more(tail), do: Enumerable.List.reduce(tail, {:cont, nil}, fn _element, acc -> {:cont, acc} end)

  # `next` is what comes after the element.
  defp pulled(acc, state, %{limit: nil} = config, element, next) do
    admit(acc, state, config, element, nil, next, config.acquire_timeout)
  end

  # The functions of the user are called once for each element, however often a limiter is asked.
  defp pulled(acc, state, %{limit: {_gate, by}} = config, element, next) do
    request(by, element)
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
        step(acc, %{state | pending: {element, request, {:turn, now_ns() + ms * @ns_per_ms}}}, config)

      # Not before that, whatever is rounded off.
      {:no_place, ms} ->
        await(acc, state, config, {:limited, now() + ms + 1, until(left)})

      {:error, reason} ->
        refused(reason, state, config)

      # It was there when the stream began.
      gone when gone in [:gone, :no_key] ->
        refused(:closed, state, config)
    end
  end

  defp park(acc, state, %{gate: gate, ref: ref} = config, left) do
    case Native.pool_park(gate, :bound, 1, ref) do
      {instance, token} ->
        await(acc, state, config, {instance, token, until(left)})

      reason when reason in [:full, :queue_full, :closed, :deadlock, :no_pool, :badarg] ->
        refused(reason, state, config)

      instance ->
        step(acc, granted(state, config, instance), config)
    end
  end

  defp take_turn(acc, %{pending: {element, _request, _turn}, next: next} = state, config) do
    step(acc, launch(state, config, element, next, Native.spawn_take(config.gate, 1)), config)
  end

  defp until(:infinity), do: :infinity
  defp until(left), do: now() + left

  defp now, do: System.monotonic_time(:millisecond)
  defp now_ns, do: System.monotonic_time(:nanosecond)

  defp granted(%{pending: {element, _request, _left}, next: next} = state, %{gate: gate} = config, instance) do
    launch(state, config, element, next, Native.spawn_offer(gate, instance, 1))
  end

  defp launch(state, %{gate: gate, shared: shared} = config, element, next, offer) do
    {pid, monitor} =
      try do
        create(config.options.under, shared, offer, element)
      catch
        # No place for another process.
        kind, reason ->
          Native.spawn_retract(gate, offer)
          close(state, config)
          halt(next)
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

  # The pool was there when the stream began.
  defp refused(:no_pool, state, config), do: refused(:closed, state, config)

  defp refused(reason, state, config) do
    close(state, config)
    halt(state.next)
    raise RejectedError, gate: config.options.gate, reason: reason, permits: 1
  end

  # No wait is left behind; if it was granted meanwhile, the task is started.
  defp unpark(state, _config, {:turn, _at}), do: state

  defp unpark(state, _config, {:limited, _at, until}) do
    {element, request, _left} = state.pending
    %{state | pending: {element, request, left(until)}}
  end

  defp unpark(state, %{gate: gate, ref: ref} = config, {instance, token, until}) do
    case Native.pool_withdraw(gate, instance, token) do
      :cancelled ->
        {element, request, _left} = state.pending
        %{state | pending: {element, request, left(until)}}

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

  defp await(acc, %{tasks: tasks} = state, %{ref: ref, guard_monitor: guard_monitor} = config, parked) do
    receive do
      {^ref, pid, value} ->
        answered(acc, state, config, parked, pid, value)

      {:DOWN, monitor, :process, pid, reason} when is_of(monitor, tasks, pid) ->
        gone(acc, state, config, parked, pid, reason)

      {^ref, pid, :late?, late?} ->
        told(acc, state, config, parked, pid, late?)

      {^ref, guard, :tasks?, nil} ->
        send(guard, {ref, :tasks, Map.keys(tasks)})
        await(acc, state, config, parked)

      {:DOWN, ^guard_monitor, :process, _guard, reason} ->
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

  defp patience({:turn, at}),
    do: (at - now_ns()) |> max(0) |> Kernel.+(@ns_per_ms - 1) |> div(@ns_per_ms) |> min(@longest_wait)

  # The next may be years away, and is asked for again before that.
  defp patience({:limited, at, _until}), do: (at - now()) |> max(0) |> min(@longest_wait)
  defp patience({_instance, _token, until}), do: left(until)

  defp give_up(acc, state, config, {:turn, _at}), do: step(acc, state, config)

  # To be asked again.
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
    # It has nothing left to do but to end.
    receive do: ({:DOWN, ^monitor, :process, _pid, reason} -> forget(config, pid, reason))
    Native.spawn_ended(config.gate, pid)
    done(acc, state, config, parked, tasks, position, {:ok, value})
  end

  defp forget(_config, _pid, :normal), do: :ok
  # Ended from outside after its answer. If it was the guard, that would remember it.
  defp forget(%{guard: guard}, pid, _reason), do: send(guard, {:forget, pid})

  defp gone(acc, state, config, parked, pid, reason) do
    {{_monitor, position, element}, tasks} = Map.pop!(state.tasks, pid)
    Native.spawn_ended(config.gate, pid)

    if reason == :normal do
      done(acc, state, config, parked, tasks, position, exit_of(element, reason, config))
    else
      # If we do not trap exits, this is the end of us, by the guard's hand; unless it was the guard that ended the task.
      send(config.guard, {:why, pid})
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

  # A task is over, and not among `tasks` any more.
  defp done(acc, %{due: position, slots: slots} = state, config, parked, tasks, position, result) do
    hand_out(result, acc, %{state | slots: slots + 1, due: position + 1, tasks: tasks}, config, parked)
  end

  defp done(acc, %{due: :any, slots: slots} = state, config, parked, tasks, _position, result) do
    hand_out(result, acc, %{state | slots: slots + 1, tasks: tasks}, config, parked)
  end

  # Behind one that still runs: nothing to deliver, so the wait for a permit goes on.
  defp done(acc, %{slots: slots, done: done} = state, config, parked, tasks, position, result) do
    state = %{state | slots: slots + 1, tasks: tasks, done: Map.put(done, position, result)}
    if parked, do: await(acc, state, config, parked), else: step(acc, state, config)
  end

  defp hand_out(result, acc, state, config, nil), do: deliver(result, acc, state, config)
  defp hand_out(result, acc, state, config, parked), do: deliver(result, acc, unpark(state, config, parked), config)

  # The guard died: by a task that failed, or by somebody's hand.
  defp orphaned(state, config, parked, reason) do
    unlink(config.guard)
    end_tasks(abandon(state, config, parked), config)
    forget_table(config)
    flush(config.ref)
    exit({reason, {Task.Supervised, :stream, [config.options.timeout]}})
  end

  # No wait is left behind, and no permit.
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

  defp halt({:more, next}), do: next.({:halt, nil})
  defp halt({:queue, _elements, next}), do: halt(next)
  defp halt(_list), do: :ok

  # When this returns, no task runs, and nothing of the stream is in the mailbox or will be.
  #
  # The guard can take us with it no longer, but watches us to the end: our own death in the middle of this still ends all.
  defp close(state, %{ref: ref, guard: guard, guard_monitor: guard_monitor} = config) do
    unlink(guard)
    end_tasks(state, config)
    Process.exit(guard, :kill)
    await_down(guard, guard_monitor)
    forget_table(config)
    flush(ref)
  end

  # The consumer may have read the message of the first monitor while it had control.
  defp await_down(pid, monitor) do
    second = Process.monitor(pid)
    Process.demonitor(monitor, [:flush])
    receive do: ({:DOWN, ^second, :process, _pid, _reason} -> :ok)
  end

  # From then on, continuations know that the stream is over.
  defp forget_table(%{table: nil}), do: true
  defp forget_table(%{table: table}), do: :ets.delete(table)

  # Nothing comes by a link that is gone; what has come before, if we trap exits, is not the consumer's.
  defp unlink(guard) do
    Process.unlink(guard)

    receive do
      {:EXIT, ^guard, _reason} -> :ok
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
