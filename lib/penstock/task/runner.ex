defmodule Penstock.Task.Runner do
  # Runs inside a task: adopts the permits, calls the user's function, and releases the permits
  # before another process can see how the task ended.
  @moduledoc false

  alias Penstock.Native
  alias Penstock.Process.MaxRuntime
  alias Penstock.Task.Report

  @typedoc "What a task calls."
  @type call :: Penstock.work(term) | Report.mfargs()

  # There, `Task` makes processes of `:proc_lib`, which report crashes on their own.
  @proc_lib Version.match?(System.version(), "< 1.15.0-dev")

  # Runs in a process that `Task` made.
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

  @typedoc "The function that a stream calls with each element."
  @type element_call :: (term -> term) | Report.mfargs()

  @typedoc "The common data of the tasks of one stream: the gate, the reference, the monitor, `$callers` and the function."
  @type stream :: {Native.gate(), reference, pid, [pid, ...], element_call}

  @typedoc "The supervisor that starts the tasks of a stream, and their `:shutdown`."
  @type supervisor :: {GenServer.server(), timeout | :brutal_kill}

  # Creates and monitors a task of a stream under a supervisor. The task begins when it is
  # monitored, and its work does not pass through the supervisor.
  @spec start_under(supervisor, stream, Native.offer(), term) :: {pid, reference}
  def start_under({supervisor, shutdown}, {_gate, ref, stream_monitor, _callers, _function} = stream, offer, element) do
    start = {__MODULE__, :start_element, [ref, stream_monitor]}
    spec = %{id: __MODULE__, start: start, restart: :temporary, shutdown: shutdown}
    {:ok, pid} = DynamicSupervisor.start_child(supervisor, spec)
    monitor = Process.monitor(pid)
    send(pid, {ref, :begin, stream, offer, element})
    {pid, monitor}
  end

  # Called by the supervisor.
  @spec start_element(reference, pid) :: {:ok, pid}
  def start_element(ref, stream_monitor) do
    {:ok, spawn_link(__MODULE__, :await_element, [ref, stream_monitor, ancestors()])}
  end

  # As in `Task`: `:proc_lib` uses the name of a process that has one.
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
  def await_element(ref, stream_monitor, ancestors) do
    # If the consumer dies before it sends the work, the monitor ends this process.
    if link(stream_monitor) == :ok do
      receive do: ({^ref, :begin, stream, offer, element} -> element(stream, offer, element, ancestors))
    end
  end

  # The whole life of a task of a stream. Its permit is back when it is dead: the consumer waits
  # for that, and no other process depends on it earlier.
  @spec element(stream, Native.offer(), term, [atom | pid] | nil) :: term
  def element({gate, ref, stream_monitor, [consumer | _] = callers, function}, offer, element, ancestors \\ nil) do
    # Links first, and adopts only if the consumer is alive. The monitor looks at its links after
    # the death of the consumer: so either the monitor sees this task, or this task sees that the
    # consumer is dead. In another order, a task that traps exits could outlive both.
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
          # Saves the monitor a message for each task: this process only ends now.
          Process.unlink(stream_monitor)
      end
    end
  end

  # The monitor of a stream that has ended is gone.
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

  # `Task` does not report these.
  defp leave(:exit, reason, stacktrace) when reason in [:normal, :shutdown] do
    :erlang.raise(:exit, reason, stacktrace)
  end

  defp leave(:exit, {:shutdown, _} = reason, stacktrace), do: :erlang.raise(:exit, reason, stacktrace)

  # `Task` would report all other exits again, by the name of our function. Hibernating drops the frames of all callers; the message keeps the process from waiting for one.
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

  # Returns the initial function of the process that tools show, as in `Task`.
  defp initial_call({:erlang, :apply, [fun, []]}) when is_function(fun, 0), do: initial_call(fun)
  defp initial_call({module, function, args}), do: {module, function, length(args)}
  defp initial_call(fun), do: :erlang.fun_info_mfa(fun)

  defp initial_call_with_element({module, function, args}), do: {module, function, length(args) + 1}
  defp initial_call_with_element(_fun), do: {:erlang, :apply, 2}
end
