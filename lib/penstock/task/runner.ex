defmodule Penstock.Task.Runner do
  # What runs in a task: the permits are adopted, the user's function called, and the permits given back before
  # anybody sees how it ended.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Process.MaxRuntime
  alias Penstock.Task.Report

  @typedoc "What a task calls."
  @type call :: (-> term) | Report.mfargs()

  # `Task` makes processes of `:proc_lib` there, which report crashes on their own.
  @proc_lib Version.match?(System.version(), "< 1.15.0-dev")

  # Inside of a process that `Task` made.
  @spec run(Native.gate(), Native.offer(), call, MaxRuntime.max_runtime()) :: term
  def run(gate, offer, call, max_runtime \\ nil) do
    if Native.spawn_adopt(gate, offer) != :ok, do: exit(:normal)

    :erlang.put(:"$initial_call", initial_call(call))
    # The function may erase the process dictionary.
    callers = :erlang.get(:"$callers")
    work(gate, offer, call, max_runtime, callers)
  end

  # The supervisor calls this to start a task that no process awaits.
  @spec start_link([pid, ...], Native.gate(), Native.offer(), call, MaxRuntime.max_runtime()) :: {:ok, pid}
  def start_link(callers, gate, offer, call, max_runtime \\ nil) do
    {:ok, spawn_link(__MODULE__, :run_under, [ancestors(), callers, gate, offer, call, max_runtime])}
  end

  # The whole life of such a task.
  @spec run_under([atom | pid], [pid, ...], Native.gate(), Native.offer(), call, MaxRuntime.max_runtime()) :: term
  def run_under(ancestors, callers, gate, offer, call, max_runtime) do
    :erlang.put(:"$ancestors", ancestors)
    :erlang.put(:"$callers", callers)
    run(gate, offer, call, max_runtime)
  end

  # The whole life of a task that its starter awaits, as `Task.async/3` has it. The starter hands
  # over the permits before it sends the message, so there is nothing to adopt. If the starter is
  # killed before that, its link ends this process.
  @spec reply(pid, Native.gate(), Native.offer(), call, MaxRuntime.max_runtime(), [atom | pid]) :: term
  def reply(starter, gate, offer, call, max_runtime, ancestors) do
    receive do
      {^starter, monitor, callers} ->
        :erlang.put(:"$ancestors", ancestors)
        :erlang.put(:"$callers", callers)
        :erlang.put(:"$initial_call", initial_call(call))
        send(monitor, {monitor, work(gate, offer, call, max_runtime, callers)})
    end
  end

  # The process holds its permits.
  defp work(gate, offer, call, max_runtime, callers) do
    MaxRuntime.start(gate, offer, max_runtime)

    try do
      call(call)
    catch
      kind, reason ->
        Report.log(kind, reason, __STACKTRACE__, callers, mfargs(call))
        give_back(gate, offer, max_runtime)
        leave(kind, reason, __STACKTRACE__)
    else
      value ->
        give_back(gate, offer, max_runtime)
        value
    end
  end

  # Returns the `$callers` of a process that the caller starts. User code may have put anything
  # there.
  @spec callers() :: [pid, ...]
  def callers do
    case :erlang.get(:"$callers") do
      [_ | _] = callers -> [self() | callers]
      _none -> [self()]
    end
  end

  # Returns the `$ancestors` of a process that the caller starts.
  @spec ancestors() :: [atom | pid, ...]
  def ancestors do
    case :erlang.get(:"$ancestors") do
      ancestors when is_list(ancestors) -> [as_ancestor() | ancestors]
      _none -> [as_ancestor()]
    end
  end

  defp call({module, function, args}), do: apply(module, function, args)
  defp call(fun), do: fun.()

  defp mfargs({_module, _function, _args} = mfargs), do: mfargs
  defp mfargs(fun), do: {:erlang, :apply, [fun, []]}

  defp give_back(gate, offer, max_runtime) do
    MaxRuntime.finish(max_runtime)
    Native.spawn_end(gate, offer)
  end

  @typedoc "What is called with each element."
  @type element_call :: (term -> term) | Report.mfargs()

  @typedoc "What the tasks of one stream have in common: the gate, the reference, the guard, `$callers`, and what to call."
  @type stream :: {Native.gate(), reference, pid, [pid, ...], element_call}

  @typedoc "A supervisor that is asked to start tasks of a stream, and the `:shutdown` of these."
  @type supervisor :: {GenServer.server(), timeout | :brutal_kill}

  # As `spawn_monitor` of `element`, but under a supervisor. It begins when it is monitored, and what it is to do does not come
  # by way of the supervisor.
  @spec start_under(supervisor, stream, Native.offer(), term) :: {pid, reference}
  def start_under({supervisor, shutdown}, {_gate, ref, guard, _callers, _function} = stream, offer, element) do
    start = {__MODULE__, :start_element, [ref, guard]}
    spec = %{id: __MODULE__, start: start, restart: :temporary, shutdown: shutdown}
    {:ok, pid} = DynamicSupervisor.start_child(supervisor, spec)
    monitor = Process.monitor(pid)
    send(pid, {ref, :begin, stream, offer, element})
    {pid, monitor}
  end

  # By the supervisor.
  @spec start_element(reference, pid) :: {:ok, pid}
  def start_element(ref, guard) do
    {:ok, spawn_link(__MODULE__, :await_element, [ref, guard, ancestors()])}
  end

  # As `Task` has it: `:proc_lib` says the name of a process that has one.
  if @proc_lib do
    defp as_ancestor do
      case Process.info(self(), :registered_name) do
        {:registered_name, name} when is_atom(name) -> name
        _none -> self()
      end
    end
  else
    defp as_ancestor, do: self()
  end

  @spec await_element(reference, pid, [atom | pid]) :: term
  def await_element(ref, guard, ancestors) do
    # If the consumer dies before it says anything, the guard ends us.
    if link(guard) == :ok do
      receive do: ({^ref, :begin, stream, offer, element} -> element(stream, offer, element, ancestors))
    end
  end

  # The whole life of a task of a stream. Its permit is back when it is dead: no process of another's is there beside it,
  # and the consumer, which sees to that, has time to.
  @spec element(stream, Native.offer(), term, [atom | pid] | nil) :: term
  def element({gate, ref, guard, [consumer | _] = callers, function}, offer, element, ancestors \\ nil) do
    # Linked first, and then only if the consumer lives: so the guard, which looks at its links when that is dead, sees us, or we
    # see that it is dead. Otherwise a task that traps exits could outlive both.
    if link(guard) == :ok and Native.spawn_adopt(gate, offer, consumer) == :ok do
      :erlang.put(:"$initial_call", initial_call_with_element(function))
      :erlang.put(:"$ancestors", ancestors || [guard])
      :erlang.put(:"$callers", callers)

      try do
        call(function, element)
      catch
        kind, reason ->
          Report.log(kind, reason, __STACKTRACE__, callers, mfargs(function, element))
          :erlang.raise(:exit, exit_reason(kind, reason, __STACKTRACE__), __STACKTRACE__)
      else
        value ->
          send(consumer, {ref, self(), value})
          # Spares the guard a message for each task: nothing is left to do here but to end.
          Process.unlink(guard)
      end
    end
  end

  # Of a stream that is no more, there is no guard.
  defp link(guard) do
    Process.link(guard)
    :ok
  catch
    :error, _noproc -> :gone
  end

  defp call({module, function, args}, element), do: apply(module, function, [element | args])
  defp call(fun, element), do: fun.(element)

  defp mfargs({module, function, args}, element), do: {module, function, [element | args]}
  defp mfargs(fun, element), do: {:erlang, :apply, [fun, [element]]}

  # `Task` passes these on without a word.
  defp leave(:exit, reason, stacktrace) when reason in [:normal, :shutdown] do
    :erlang.raise(:exit, reason, stacktrace)
  end

  defp leave(:exit, {:shutdown, _} = reason, stacktrace), do: :erlang.raise(:exit, reason, stacktrace)

  # The others it would report a second time, by the name of our function. To hibernate forgets all callers; the
  # message is there so that it does not wait for one.
  defp leave(kind, reason, stacktrace) do
    send(self(), :leave)
    hibernate([kind, reason, stacktrace])
  end

  if @proc_lib do
    defp hibernate(args), do: :proc_lib.hibernate(__MODULE__, :die, args)

    def die(kind, reason, stacktrace), do: :erlang.raise(kind, reason, stacktrace)
  else
    defp hibernate(args), do: :erlang.hibernate(__MODULE__, :die, args)

    def die(kind, reason, stacktrace), do: :erlang.raise(:exit, exit_reason(kind, reason, stacktrace), stacktrace)
  end

  @spec exit_reason(:error | :exit | :throw, term, Exception.stacktrace()) :: term
  def exit_reason(:error, reason, stacktrace), do: {reason, stacktrace}
  def exit_reason(:exit, reason, _stacktrace), do: reason
  def exit_reason(:throw, value, stacktrace), do: {{:nocatch, value}, stacktrace}

  # What tools show as the function that a process began with, as `Task` has it.
  defp initial_call({:erlang, :apply, [fun, []]}) when is_function(fun, 0), do: initial_call(fun)
  defp initial_call({module, function, args}), do: {module, function, length(args)}
  defp initial_call(fun), do: :erlang.fun_info_mfa(fun)

  defp initial_call_with_element({module, function, args}), do: {module, function, length(args) + 1}
  defp initial_call_with_element(_fun), do: {:erlang, :apply, 2}
end
