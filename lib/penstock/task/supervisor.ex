defmodule Penstock.Task.Supervisor do
  @moduledoc """
  A `Task.Supervisor` that starts a task only if a gate admits it.

      children = [
        {Penstock.Task.Supervisor, name: MyApp.Tasks, limit: 100}
      ]

      {:ok, task} = Penstock.Task.Supervisor.async_nolink(MyApp.Tasks, fn -> fetch(url) end)
      Task.yield(task)

  With `limit: n`, the *gate* is a pool of the supervisor's own, under the supervisor's name. With
  `gate: MyApp.Budget`, it is a gate of any kind that other work can pass too: see `Penstock`. The process that starts a task asks the gate. So a refusal is cheap, and never
  reaches a supervisor process. One limit holds for all `:partitions`.

  The functions are those of `Task.Supervisor` with other results: `async` and `async_nolink`
  return `{:ok, task}` or `{:error, reason}`, and the functions that end in `!` return the bare
  task. A task releases its permits when its function has returned. So a caller that has awaited a
  task can acquire the permits that the task had. Two kinds of tasks hold their permits until they
  are dead: those with `restart: :transient` or `restart: :permanent`, and those of a stream.

  `$callers`, links and crash reports are as `Task.Supervisor` makes them. `$ancestors` begins
  with the partition. The supervisor's name follows, after the supervisor of the partitions if
  there are several.

  Elixir's functions that start a task, called with this supervisor's name by mistake, start no
  task, and the supervisor and its tasks live on. `Task.Supervisor.start_child/2` returns
  `{:error, {:not_gated, "call Penstock.Task.Supervisor.start_child/3"}}`. `async` and
  `async_nolink` of `Task.Supervisor` raise, and a stream raises when it is consumed; the message
  names the functions to call instead. See `Penstock.DynamicSupervisor`.
  """

  alias Penstock.Admission.Request
  alias Penstock.{Options, RejectedError}
  alias Penstock.Supervision.{Group, Partitions}
  alias Penstock.Task.{Launcher, Runner, Stream}

  @typedoc "The name of a supervisor, or its pid."
  @type supervisor :: atom | pid

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:name, atom}
          | {:gate, Penstock.gate()}
          | {:partitions, pos_integer}
          | {:max_restarts, non_neg_integer}
          | {:max_seconds, pos_integer}
          | Penstock.Pool.option()
          | GenServer.option()

  @typedoc "An option of the functions that start one task whose result is awaited."
  @type async_option :: Penstock.start_option() | {:partition_key, term} | {:shutdown, timeout | :brutal_kill}

  @typedoc "An option of `start_child/3`."
  @type child_option :: async_option | {:restart, :temporary | :transient | :permanent}

  @typedoc "An option of the streams."
  @type stream_option :: Penstock.Task.stream_option() | {:partition_key, term} | {:shutdown, timeout | :brutal_kill}

  @supervisor_options [:max_restarts, :max_seconds]
  # The default of `:shutdown` in ms, which is that of `Task.Supervisor`.
  @shutdown 5_000
  @async_options [:shutdown | Partitions.child_options()]
  @child_options [:restart | @async_options]
  @stream_options [:shutdown, :partition_key | Stream.Config.known_options()]

  @doc """
  Returns the child spec of a supervisor, with the id `{Penstock.Task.Supervisor, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.Task.Supervisor.child_spec(name: MyApp.Tasks, limit: 5).id
      {Penstock.Task.Supervisor, MyApp.Tasks}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :supervisor)

  @doc """
  Starts a supervisor, and its pool if there is a `:limit`, and links it to the caller.

  Returns `{:ok, pid}`, `{:error, {:already_started, pid}}` or `{:error, reason}`, and raises, as
  `Penstock.DynamicSupervisor.start_link/1` does. Takes the options of that function, except
  `:strategy` and `:extra_arguments`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Fetches, limit: 2)
      iex> {:ok, task} = Penstock.Task.Supervisor.async(MyApp.Fetches, fn -> 6 * 7 end)
      iex> Task.await(task)
      42

  """
  @spec start_link([option]) :: Supervisor.on_start()
  def start_link(opts), do: Partitions.start_link(__MODULE__, Task.Supervisor, @supervisor_options, opts)

  @doc """
  Starts a task that no process awaits, if the gate admits it.

  The task is otherwise as `Task.Supervisor.start_child/3` starts it.

  Returns:

    * `{:ok, pid}`
    * `{:error, reason}` - the gate refused, and no supervisor was called; "Refusals" in
      `Penstock` lists the reasons

  Raises `ArgumentError`, before it takes a permit, if `supervisor` is not a running supervisor of
  this module, `fun` is not a function of arity 0, or an option is unknown or of the wrong kind.
  If the supervisor cannot start the task, the permits are free again; a limiter's charge is not
  refunded.

  ## Options

  #{Request.docs(:start, 0)}
    * `:partition_key` - chooses the partition, as in `Penstock.DynamicSupervisor.start_child/3`.
      Default: the pid of the caller
    * `:restart` - `:temporary`, `:transient` or `:permanent`. Default `:temporary`. A restart is
      admitted as `Penstock.child_spec/3` describes
    * `:shutdown` - how long the supervisor waits for the task to end before it kills it: in ms,
      `:infinity`, or `:brutal_kill` to kill it at once. Default `5_000`

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Mails, limit: 1)
      iex> {:ok, pid} = Penstock.Task.Supervisor.start_child(MyApp.Mails, fn -> Process.sleep(:infinity) end)
      iex> Penstock.Task.Supervisor.start_child(MyApp.Mails, fn -> :never end)
      {:error, :full}
      iex> Penstock.Task.Supervisor.children(MyApp.Mails) == [pid]
      true

  """
  @spec start_child(supervisor, Penstock.work(term), [child_option]) :: DynamicSupervisor.on_start_child()
  def start_child(supervisor, fun, opts \\ []), do: child(supervisor, Options.fun!(fun), opts)

  @doc """
  Starts a task as `start_child/3` does, but the task calls `apply(module, function, args)`.

  Returns `{:ok, pid}` or `{:error, reason}`. Takes the options of `start_child/3`, and raises as
  `start_child/3`. Also raises if `module` or `function` is not an atom, or `args` is not a list.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Sleeps, limit: 1)
      iex> {:ok, pid} = Penstock.Task.Supervisor.start_child(MyApp.Sleeps, Process, :sleep, [:infinity], restart: :transient)
      iex> Penstock.Task.Supervisor.terminate_child(MyApp.Sleeps, pid)
      :ok

  """
  @spec start_child(supervisor, module, atom, [term], [child_option]) :: DynamicSupervisor.on_start_child()
  def start_child(supervisor, module, function, args, opts \\ []) do
    child(supervisor, Options.mfargs!(module, function, args), opts)
  end

  # Nearly every call has no options. This clause skips their checks.
  defp child(supervisor, call, []) do
    group = Partitions.fetch!(__MODULE__, supervisor)
    partition = Partitions.partition(group, [])
    Launcher.start(gate(group), call, %Request{timeout: 0}, start_under(partition, @shutdown))
  end

  defp child(supervisor, call, opts) do
    group = Partitions.fetch!(__MODULE__, supervisor)
    request = Request.start!(opts, 0, @child_options)
    restart = Options.one_of!(Keyword.get(opts, :restart, :temporary), ":restart", [:temporary, :transient, :permanent])
    shutdown = shutdown!(opts)

    if restart == :temporary do
      partition = Partitions.partition(group, opts)
      Launcher.start(gate(group), call, request, start_under(partition, shutdown))
    else
      # Takes the start function of Elixir's `Task.Supervisor`, which needs no offer. The
      # partition calls the start function again for each restart, but an offer serves one start
      # only. So Runner.start_link/5, which needs an offer, cannot be used.
      start = {Task.Supervised, :start_link, [owner(), callers(), mfargs(call)]}
      spec = %{id: Task.Supervised, start: start, restart: restart, shutdown: shutdown}
      Partitions.start_child(group, spec, request, opts)
    end
  end

  # Returns the function that starts a task under a partition. A partition answers no other call
  # while it starts a task. So the function does not call `Task.Supervisor.start_child/3`, whose
  # start of a task takes longer.
  defp start_under(partition, shutdown) do
    fn Runner, :run, args ->
      start = {Runner, :start_link, [Runner.callers() | args]}
      DynamicSupervisor.start_child(partition, {Runner, start, :temporary, shutdown, :worker, [Task.Supervised]})
    end
  end

  @doc """
  Starts a task that the caller awaits and is linked to, if the gate admits it.

  The task is otherwise as `Task.Supervisor.async/3` starts it.

  Returns:

    * `{:ok, %Task{}}`
    * `{:error, reason}` - the gate refused, and no supervisor was called; "Refusals" in
      `Penstock` lists the reasons

  Raises as `start_child/3`.

  ## Options

  #{Request.docs(:start, 5_000)}
    * `:partition_key`, `:shutdown` - as in `start_child/3`

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Sums, limit: 1)
      iex> {:ok, task} = Penstock.Task.Supervisor.async(MyApp.Sums, fn -> 1 + 2 end)
      iex> Task.await(task)
      3

  """
  @spec async(supervisor, Penstock.work(term), [async_option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async(supervisor, fun, opts \\ []), do: task(supervisor, Options.fun!(fun), opts, &Task.Supervisor.async/5)

  @doc """
  Starts a task as `async/3` does, but the task calls `apply(module, function, args)`.

  Returns `{:ok, %Task{}}` or `{:error, reason}`. Takes the options of `async/3`, and raises as
  `start_child/5`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Lists, limit: 1)
      iex> {:ok, task} = Penstock.Task.Supervisor.async(MyApp.Lists, Enum, :sum, [[1, 2, 3]])
      iex> {task.mfa, Task.await(task)}
      {{Enum, :sum, 1}, 6}

  """
  @spec async(supervisor, module, atom, [term], [async_option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async(supervisor, module, function, args, opts \\ []) do
    task(supervisor, Options.mfargs!(module, function, args), opts, &Task.Supervisor.async/5)
  end

  @doc """
  Starts a task as `async/3` does, and returns the bare `%Task{}`.

  Takes the options of `async/3`. Raises `Penstock.RejectedError` if the gate refuses, and
  otherwise as `async/3`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Products, limit: 1)
      iex> MyApp.Products |> Penstock.Task.Supervisor.async!(fn -> 2 * 3 end) |> Task.await()
      6

  """
  @spec async!(supervisor, Penstock.work(term), [async_option]) :: Task.t()
  def async!(supervisor, fun, opts \\ []), do: admitted!(async(supervisor, fun, opts), supervisor, opts)

  @doc """
  Starts a task as `async!/3` does, but the task calls `apply(module, function, args)`.

  Returns the bare `%Task{}`. Takes the options of `async/3`. Raises `Penstock.RejectedError` if
  the gate refuses, and otherwise as `start_child/5`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Maxima, limit: 1)
      iex> MyApp.Maxima |> Penstock.Task.Supervisor.async!(Enum, :max, [[1, 3, 2]]) |> Task.await()
      3

  """
  @spec async!(supervisor, module, atom, [term], [async_option]) :: Task.t()
  def async!(supervisor, module, function, args, opts \\ []) do
    admitted!(async(supervisor, module, function, args, opts), supervisor, opts)
  end

  @doc """
  Starts a task as `async/3` does, without a link between the task and the caller.

  Returns `{:ok, %Task{}}` or `{:error, reason}`. Takes the options of `async/3`, and raises as
  `async/3`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Risks, limit: 1)
      iex> {:ok, task} = Penstock.Task.Supervisor.async_nolink(MyApp.Risks, fn -> exit(:shutdown) end)
      iex> Task.yield(task)
      {:exit, :shutdown}

  """
  @spec async_nolink(supervisor, Penstock.work(term), [async_option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async_nolink(supervisor, fun, opts \\ []) do
    task(supervisor, Options.fun!(fun), opts, &Task.Supervisor.async_nolink/5)
  end

  @doc """
  Starts a task as `async_nolink/3` does, but the task calls `apply(module, function, args)`.

  Returns `{:ok, %Task{}}` or `{:error, reason}`. Takes the options of `async/3`, and raises as
  `start_child/5`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Tries, limit: 1)
      iex> {:ok, task} = Penstock.Task.Supervisor.async_nolink(MyApp.Tries, Enum, :count, [[1, 2]])
      iex> Task.await(task)
      2

  """
  @spec async_nolink(supervisor, module, atom, [term], [async_option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async_nolink(supervisor, module, function, args, opts \\ []) do
    task(supervisor, Options.mfargs!(module, function, args), opts, &Task.Supervisor.async_nolink/5)
  end

  @doc """
  Starts a task as `async_nolink/3` does, and returns the bare `%Task{}`.

  Takes the options of `async/3`. Raises `Penstock.RejectedError` if the gate refuses, and
  otherwise as `async/3`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Bets, limit: 1)
      iex> MyApp.Bets |> Penstock.Task.Supervisor.async_nolink!(fn -> :won end) |> Task.await()
      :won

  """
  @spec async_nolink!(supervisor, Penstock.work(term), [async_option]) :: Task.t()
  def async_nolink!(supervisor, fun, opts \\ []), do: admitted!(async_nolink(supervisor, fun, opts), supervisor, opts)

  @doc """
  Starts a task as `async_nolink!/3` does, but the task calls `apply(module, function, args)`.

  Returns the bare `%Task{}`. Takes the options of `async/3`. Raises `Penstock.RejectedError` if
  the gate refuses, and otherwise as `start_child/5`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Calls, limit: 1)
      iex> MyApp.Calls |> Penstock.Task.Supervisor.async_nolink!(Enum, :min, [[2, 1]]) |> Task.await()
      1

  """
  @spec async_nolink!(supervisor, module, atom, [term], [async_option]) :: Task.t()
  def async_nolink!(supervisor, module, function, args, opts \\ []) do
    admitted!(async_nolink(supervisor, module, function, args, opts), supervisor, opts)
  end

  defp task(supervisor, call, [], create) do
    group = Partitions.fetch!(__MODULE__, supervisor)
    partition = Partitions.partition(group, [])
    Launcher.async(gate(group), call, %Request{timeout: 5_000}, &create.(partition, &1, &2, &3, []))
  end

  defp task(supervisor, call, opts, create) do
    group = Partitions.fetch!(__MODULE__, supervisor)
    request = Request.start!(opts, 5_000, @async_options)
    shutdown = [shutdown: shutdown!(opts)]
    partition = Partitions.partition(group, opts)
    Launcher.async(gate(group), call, request, &create.(partition, &1, &2, &3, shutdown))
  end

  defp admitted!({:ok, task}, _supervisor, _opts), do: task

  defp admitted!({:error, reason}, supervisor, opts) do
    gate = Partitions.fetch!(__MODULE__, supervisor).gate
    raise RejectedError, gate: gate, reason: reason, permits: Keyword.get(opts, :permits, 1)
  end

  @doc """
  Returns a stream as `Penstock.Task.async_stream/4` does, with tasks that are children of the
  supervisor and pass the supervisor's gate.

  Raises `ArgumentError` if `supervisor` is not a running supervisor of this module, `fun` is not
  a function of arity 1, or an option is unknown or of the wrong kind. The stream itself raises as
  a stream of `Penstock.Task.async_stream/4` does.

  ## Options

  The options of `Penstock.Task.async_stream/4`, and:

    * `:partition_key`, `:shutdown` - as in `start_child/3`. The default key is the pid of the
      process that consumes the stream

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Squares, limit: 2)
      iex> MyApp.Squares |> Penstock.Task.Supervisor.async_stream(1..3, &(&1 * &1)) |> Enum.to_list()
      [ok: 1, ok: 4, ok: 9]

  """
  @spec async_stream(supervisor, Enumerable.t(), (term -> term), [stream_option]) :: Enumerable.t()
  def async_stream(supervisor, enumerable, fun, opts \\ []), do: stream(supervisor, enumerable, fun!(fun), opts, true)

  @doc """
  Returns a stream as `async_stream/4` does, but each task calls
  `apply(module, function, [element | args])`.

  Options come last, after `args`. Takes the options of `async_stream/4`, and raises as
  `async_stream/4`. Also raises if `module` or `function` is not an atom, or `args` is not a list.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Texts, limit: 2)
      iex> MyApp.Texts |> Penstock.Task.Supervisor.async_stream([1, 2], Integer, :to_string, [2]) |> Enum.to_list()
      [ok: "1", ok: "10"]

  """
  @spec async_stream(supervisor, Enumerable.t(), module, atom, [term], [stream_option]) :: Enumerable.t()
  def async_stream(supervisor, enumerable, module, function, args, opts \\ []) do
    stream(supervisor, enumerable, Options.mfargs!(module, function, args), opts, true)
  end

  @doc """
  Returns a stream as `async_stream/4` does, but without links between the tasks and the consumer.

  A task that fails has the result `{:exit, reason}`, and does not end the consumer. Takes the
  options of `async_stream/4`, and raises as `async_stream/4`.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Attempts, limit: 2)
      iex> fun = fn x -> if x == 2, do: exit(:shutdown), else: x end
      iex> MyApp.Attempts |> Penstock.Task.Supervisor.async_stream_nolink(1..3, fun) |> Enum.to_list()
      [ok: 1, exit: :shutdown, ok: 3]

  """
  @spec async_stream_nolink(supervisor, Enumerable.t(), (term -> term), [stream_option]) :: Enumerable.t()
  def async_stream_nolink(supervisor, enumerable, fun, opts \\ []) do
    stream(supervisor, enumerable, fun!(fun), opts, false)
  end

  @doc """
  Returns a stream as `async_stream_nolink/4` does, but each task calls
  `apply(module, function, [element | args])`.

  Options come last, after `args`. Takes the options of `async_stream/4`, and raises as
  `async_stream/4`. Also raises if `module` or `function` is not an atom, or `args` is not a list.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Names, limit: 2)
      iex> MyApp.Names |> Penstock.Task.Supervisor.async_stream_nolink([:a], Atom, :to_string, []) |> Enum.to_list()
      [ok: "a"]

  """
  @spec async_stream_nolink(supervisor, Enumerable.t(), module, atom, [term], [stream_option]) :: Enumerable.t()
  def async_stream_nolink(supervisor, enumerable, module, function, args, opts \\ []) do
    stream(supervisor, enumerable, Options.mfargs!(module, function, args), opts, false)
  end

  defp stream(supervisor, enumerable, _function, _opts, _linked)
       when is_atom(enumerable) and not is_atom(supervisor) and not is_pid(supervisor) do
    hint = "the supervisor comes first, then the enumerable"
    Options.expected!("supervisor", "the name of a Penstock.Task.Supervisor of this node", supervisor, hint)
  end

  defp stream(supervisor, enumerable, function, opts, linked) do
    group = Partitions.fetch!(__MODULE__, supervisor)
    opts = Options.known!(opts, @stream_options)
    shutdown = shutdown!(opts)
    config = Stream.Config.options!(group.gate, enumerable, function, opts, nil, linked)

    # Chooses the partition in the consumer, because the default key is the pid of the consumer.
    # The process that makes the stream may be another one.
    &Stream.reduce(&1, &2, %{config | under: {Partitions.partition(group, opts), shutdown}})
  end

  defp fun!(fun) when is_function(fun, 1), do: fun
  defp fun!(value), do: Options.expected!("fun", "a function of arity 1", value)

  @doc """
  Returns the list of the pids of the running tasks of all partitions.

  Raises `ArgumentError` if `supervisor` is not a running supervisor of this module.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Idle, limit: 2)
      iex> Penstock.Task.Supervisor.children(MyApp.Idle)
      []

  """
  @spec children(supervisor) :: [pid]
  def children(supervisor) do
    for partition <- Group.partitions(Partitions.fetch!(__MODULE__, supervisor)),
        pid <- Task.Supervisor.children(partition),
        do: pid
  end

  @doc """
  Terminates a task, as `Task.Supervisor.terminate_child/2` does.

  Returns `:ok` when the task is dead, or `{:error, :not_found}` if `pid` is not a task of this
  supervisor. Raises `ArgumentError` if `supervisor` is not a running supervisor of this module,
  or `pid` is not a pid.

  ## Examples

      iex> {:ok, _pid} = Penstock.Task.Supervisor.start_link(name: MyApp.Others, limit: 2)
      iex> Penstock.Task.Supervisor.terminate_child(MyApp.Others, self())
      {:error, :not_found}

  """
  @spec terminate_child(supervisor, pid) :: :ok | {:error, :not_found}
  def terminate_child(supervisor, pid) do
    __MODULE__ |> Partitions.fetch!(supervisor) |> Partitions.terminate_child(Options.pid!(pid))
  end

  defp gate(%{gate: gate, ref: ref}), do: {gate, ref}

  defp shutdown!(opts) do
    case Keyword.get(opts, :shutdown, @shutdown) do
      shutdown when shutdown in [:brutal_kill, :infinity] -> shutdown
      # `Task.Supervisor` takes 0 ms, but `DynamicSupervisor` refuses a child spec with 0. So the
      # shortest time is 1 ms.
      0 -> 1
      shutdown when is_integer(shutdown) and shutdown > 0 -> shutdown
      other -> Options.expected!(":shutdown", "a number of milliseconds, :infinity or :brutal_kill", other)
    end
  end

  # Returns the owner of a task in the form that `Task` uses: the node, the registered name or
  # else the pid, and the pid of the process that starts the task.
  defp owner do
    name =
      case Process.info(self(), :registered_name) do
        {:registered_name, name} when is_atom(name) -> name
        _none -> self()
      end

    {node(), name, self()}
  end

  defp callers do
    case Process.get(:"$callers") do
      [_ | _] = callers -> [self() | callers]
      _none -> [self()]
    end
  end

  defp mfargs({_module, _function, _args} = mfargs), do: mfargs
  defp mfargs(fun), do: {:erlang, :apply, [fun, []]}
end
