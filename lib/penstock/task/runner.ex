defmodule Penstock.Task.Runner do
  # Runs in a task: adopts the permits, unless the starter has handed them over, and calls the
  # user's function. Releases the permits before another process can see the result or the end of
  # the task. A task of a stream is the exception: its permit returns when the task is dead.
  #
  # A few functions run elsewhere, as their comments say: in the process that starts a task, or in
  # the supervisor of a task.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Process.MaxRuntime
  alias Penstock.Task.Report

  @typedoc "The function that a task calls, with its arguments."
  @type call :: Penstock.work(term) | Report.mfargs()

  # Before Elixir 1.15 the processes of `Task` are processes of `:proc_lib`, which logs a crash
  # report of its own.
  @proc_lib Version.match?(System.version(), "< 1.15.0-dev")

  # Runs a task in a process that Elixir's `Task` has created.
  @spec run(Native.gate(), Native.offer(), call, MaxRuntime.max_runtime()) :: term
  def run(gate, offer, call, max_runtime \\ nil) do
    if Native.spawn_adopt(gate, offer) != :ok, do: exit(:normal)

    :erlang.put(:"$initial_call", initial_call(call))
    # Reads the `$callers` now, because the user's function may erase the process dictionary.
    callers = :erlang.get(:"$callers")
    work(gate, offer, call, max_runtime, callers)
  end

  # Starts a task that no process awaits. Runs in the supervisor of the task.
  @spec start_link([pid, ...], Native.gate(), Native.offer(), call, MaxRuntime.max_runtime()) :: {:ok, pid}
  def start_link(callers, gate, offer, call, max_runtime \\ nil) do
    {:ok, spawn_link(__MODULE__, :run_under, [ancestors(), callers, gate, offer, call, max_runtime])}
  end

  # Runs a task in a process that `start_link/5` has created.
  @spec run_under([atom | pid], [pid, ...], Native.gate(), Native.offer(), call, MaxRuntime.max_runtime()) :: term
  def run_under(ancestors, callers, gate, offer, call, max_runtime) do
    :erlang.put(:"$ancestors", ancestors)
    :erlang.put(:"$callers", callers)
    run(gate, offer, call, max_runtime)
  end

  # Runs a task that its starter awaits, in a process that Penstock.Task.Launcher has created. The
  # task does not adopt: the starter has handed the permits over before it sends the message that
  # the task waits for. If the starter is killed before that send, its link ends the task.
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

  # Does the work of a task that holds its permits.
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

  # Returns the `$callers` for a process that the calling process starts. Ignores a value that is
  # not a list, because user code may have put any term into the dictionary.
  @spec callers() :: [pid, ...]
  def callers do
    case :erlang.get(:"$callers") do
      [_ | _] = callers -> [self() | callers]
      _none -> [self()]
    end
  end

  # Returns the `$ancestors` for a process that the calling process starts.
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

  @typedoc "The function that a stream calls with each element."
  @type element_call :: (term -> term) | Report.mfargs()

  @typedoc """
  Data that all tasks of a stream share: the gate, the reference of the stream, the stream monitor,
  the `$callers`, of which the consumer is the first, and the user's function.
  """
  @type stream :: {Native.gate(), reference, pid, [pid, ...], element_call}

  @typedoc "The supervisor that starts the tasks of a stream, and their `:shutdown`."
  @type supervisor :: {GenServer.server(), timeout | :brutal_kill}

  # Creates a task of a stream under a supervisor, and monitors it. Runs in the consumer. After
  # the monitor is set, the consumer sends the work to the task. The work does not pass through
  # the supervisor, because each send copies it.
  @spec start_under(supervisor, stream, Native.offer(), term) :: {pid, reference}
  def start_under({supervisor, shutdown}, {_gate, ref, stream_monitor, _callers, _function} = stream, offer, element) do
    start = {__MODULE__, :start_element, [ref, stream_monitor]}
    spec = %{id: __MODULE__, start: start, restart: :temporary, shutdown: shutdown}
    {:ok, pid} = DynamicSupervisor.start_child(supervisor, spec)
    monitor = Process.monitor(pid)
    send(pid, {ref, :begin, stream, offer, element})
    {pid, monitor}
  end

  # Starts a task that waits for its work. Runs in the supervisor.
  @spec start_element(reference, pid) :: {:ok, pid}
  def start_element(ref, stream_monitor) do
    {:ok, spawn_link(__MODULE__, :await_element, [ref, stream_monitor, ancestors()])}
  end

  # Returns the calling process as an ancestor, in the form that `Task` uses: before Elixir 1.15,
  # the registered name if there is one.
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

  # Waits for the work of a task of a stream, and does it. Runs in a task under a supervisor.
  @spec await_element(reference, pid, [atom | pid]) :: term
  def await_element(ref, stream_monitor, ancestors) do
    # If the consumer dies before it sends the work, the stream monitor ends this process.
    if link(stream_monitor) == :ok do
      receive do: ({^ref, :begin, stream, offer, element} -> element(stream, offer, element, ancestors))
    end
  end

  # Runs a task of a stream. The task does not release its permit, which returns when the task is
  # dead. That is early enough, because only the consumer sees the result, and the consumer waits
  # for the death.
  @spec element(stream, Native.offer(), term, [atom | pid] | nil) :: term
  def element({gate, ref, stream_monitor, [consumer | _] = callers, function}, offer, element, ancestors \\ nil) do
    # The consumer may die during these two steps of the task:
    #
    #   1. The task links to the stream monitor.
    #   2. The task adopts the permit. The adoption fails if the consumer is dead.
    #
    # After the death of the consumer, the stream monitor ends the tasks that are linked to it. If
    # the consumer dies before step 2, the task ends by itself. If the consumer dies later, the
    # stream monitor finds the link and ends the task. In the other order, the stream monitor
    # could miss a task that has adopted and is not linked yet. If that task trapped exits, it
    # would outlive the consumer and the stream monitor.
    if link(stream_monitor) == :ok and Native.spawn_adopt(gate, offer, consumer) == :ok do
      :erlang.put(:"$initial_call", initial_call_with_element(function))
      :erlang.put(:"$ancestors", ancestors || [stream_monitor])
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
          # The task ends right after this. Without the link, its end sends no message to the
          # stream monitor.
          Process.unlink(stream_monitor)
      end
    end
  end

  # Returns `:gone` if the stream monitor is dead, because the stream has ended.
  defp link(stream_monitor) do
    Process.link(stream_monitor)
    :ok
  catch
    :error, _noproc -> :gone
  end

  defp call({module, function, args}, element), do: apply(module, function, [element | args])
  defp call(fun, element), do: fun.(element)

  defp mfargs({module, function, args}, element), do: {module, function, [element | args]}
  defp mfargs(fun, element), do: {:erlang, :apply, [fun, [element]]}

  # Ends the task as its function ended. The reasons of the first two clauses pass unchanged,
  # because `Task` does not report them.
  defp leave(:exit, reason, stacktrace) when reason in [:normal, :shutdown] do
    :erlang.raise(:exit, reason, stacktrace)
  end

  defp leave(:exit, {:shutdown, _} = reason, stacktrace), do: :erlang.raise(:exit, reason, stacktrace)

  # `Task` would report all other exits a second time, under the name of Penstock's function. So
  # the task hibernates first, because hibernation drops the frames of `Task` from the stack.
  # After that `Task` does not see the exit. The message to itself wakes the task at once.
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

  # Returns the function that tools show as the initial call of the process: the same that `Task`
  # would set.
  defp initial_call({:erlang, :apply, [fun, []]}) when is_function(fun, 0), do: initial_call(fun)
  defp initial_call({module, function, args}), do: {module, function, length(args)}
  defp initial_call(fun), do: :erlang.fun_info_mfa(fun)

  defp initial_call_with_element({module, function, args}), do: {module, function, length(args) + 1}
  defp initial_call_with_element(_fun), do: {:erlang, :apply, 2}
end
