defmodule Penstock.Task do
  @moduledoc """
  Tasks behind a gate, so that all callers together run no more of them than the gate admits.

  A gate is a pool, a keyed pool, a rate limiter or a ban, or a `Penstock.Gate` of several: see
  `Penstock`. Most tasks go behind a pool, which bounds how many run at once:

      {:ok, task} = Penstock.Task.async(MyApp.Jobs, fn -> fetch(url) end)
      Task.await(task)

  `async/3` returns an ordinary `Task`: `Task.await/2`, `yield/2`, `await_many/2`, `yield_many/2`,
  `shutdown/2` and `ignore/1` work on it. Links, `$callers` and crash reports are as `Task` makes
  them. Crash reports name your function.

  A task holds its permits from before its function is called until the function has returned. It
  releases them before the caller gets the reply. So a caller that has awaited a task can acquire
  the permits that the task had.

  ## Streams

  `Task.async_stream/3` bounds one caller; a thousand callers run a thousand times as many tasks.
  `async_stream/4` asks a gate for each task, and so bounds all callers together:

      MyApp.Outbound
      |> Penstock.Task.async_stream(urls, &fetch/1, max_concurrency: 20)
      |> Enum.to_list()

  > #### Waiting for oneself {: .warning}
  >
  > A task that starts tasks behind its own pool, and waits for them, holds a permit meanwhile.
  > `limit` such tasks deadlock the pool. Use separate pools for parent and child work. Or do not
  > wait for permits: pass `timeout: 0`, or `acquire_timeout: 0` to a stream.

  See [the guide](tasks.md) for when to wait and when to refuse.
  """

  alias Penstock.{Options, RejectedError}
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.Task.Launcher
  alias Penstock.Test.Ownership.Seam

  use Seam, gates: [:start, :start_link, :async, :async_stream]

  @typedoc "An option of the functions that start one task."
  @type option :: Penstock.start_option()

  @typedoc "An option of `async_stream/4`."
  @type stream_option ::
          {:max_concurrency, pos_integer}
          | {:ordered, boolean}
          | {:timeout, timeout}
          | {:on_timeout, :exit | :kill_task}
          | {:zip_input_on_exit, boolean}
          | {:acquire_timeout, timeout}
          | {:key, term | (element :: term -> term)}
          | {:cost, pos_integer | (element :: term -> pos_integer)}

  @stream_options Penstock.Task.Stream.Config.known_options()

  @doc """
  Starts a task that no process awaits, if the gate admits it.

  The task is otherwise as `Task.start/1` starts it. If the caller is killed during the call,
  either the task calls `fun` and holds the permits, or `fun` is not called and no permit is held.

  Returns:

    * `{:ok, pid}`
    * `{:error, reason}` - the gate refused and no process was created; "Refusals" in `Penstock`
      lists the reasons

  Raises `ArgumentError`, before it takes a permit, if `gate` is not a running gate, `fun` is not
  a function of arity 0, or an option is unknown or of the wrong kind. Raises `SystemLimitError`
  if the VM has no room for another process; the permits are then free again, but a limiter's
  charge is not refunded.

  ## Options

  #{Request.docs(:start, 0)}

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.Task.start(pool, fn -> receive do: (:stop -> :ok) end)
      iex> Penstock.Task.start(pool, fn -> :never end)
      {:error, :full}
      iex> send(pid, :stop)
      iex> {:ok, _pid} = Penstock.Task.start(pool, fn -> :ok end, timeout: 1_000)

  """
  @spec start(Penstock.gate(), Penstock.work(term), [option]) :: {:ok, pid} | {:error, Penstock.reason()}
  def start(gate, fun, opts \\ []), do: start_by(&Task.start/3, gate, Options.fun!(fun), opts)

  @doc """
  Starts a task as `start/3` does, but the task calls `apply(module, function, args)`.

  Returns `{:ok, pid}` or `{:error, reason}`. Takes the options of `start/3`, and raises as
  `start/3`. Also raises if `module` or `function` is not an atom, or `args` is not a list.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.Task.start(pool, Process, :sleep, [:infinity], max_runtime: 60_000)
      iex> Process.exit(pid, :kill)
      true

  """
  @spec start(Penstock.gate(), module, atom, [term], [option]) :: {:ok, pid} | {:error, Penstock.reason()}
  def start(gate, module, function, args, opts \\ []) do
    start_by(&Task.start/3, gate, Options.mfargs!(module, function, args), opts)
  end

  @doc """
  Starts a task as `start/3` does, and links it to the caller.

  Returns `{:ok, pid}` or `{:error, reason}`. Takes the options of `start/3`, and raises as
  `start/3`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.Task.start_link(pool, fn -> receive do: (:stop -> :ok) end)
      iex> pid in elem(Process.info(self(), :links), 1)
      true

  """
  @spec start_link(Penstock.gate(), Penstock.work(term), [option]) :: {:ok, pid} | {:error, Penstock.reason()}
  def start_link(gate, fun, opts \\ []) do
    start_by(&Task.start_link/3, gate, Options.fun!(fun), opts)
  end

  @doc """
  Starts a task as `start_link/3` does, but the task calls `apply(module, function, args)`.

  Returns `{:ok, pid}` or `{:error, reason}`. Takes the options of `start/3`, and raises as
  `start/5`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.Task.start_link(pool, Process, :sleep, [:infinity])
      iex> Penstock.Pool.info(pool).in_use
      1
      iex> Process.unlink(pid) and Process.exit(pid, :kill)
      true

  """
  @spec start_link(Penstock.gate(), module, atom, [term], [option]) :: {:ok, pid} | {:error, Penstock.reason()}
  def start_link(gate, module, function, args, opts \\ []) do
    start_by(&Task.start_link/3, gate, Options.mfargs!(module, function, args), opts)
  end

  @doc """
  Starts a task that the caller awaits, if the gate admits it.

  The task is otherwise as `Task.async/1` starts it: linked to the caller, which must await it.

  Returns:

    * `{:ok, %Task{}}`
    * `{:error, reason}` - the gate refused and no process was created; "Refusals" in `Penstock`
      lists the reasons

  Raises as `start/3`.

  ## Options

  #{Request.docs(:start, 5_000)}

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, task} = Penstock.Task.async(pool, fn -> 6 * 7 end)
      iex> Task.await(task)
      42
      iex> Penstock.Pool.info(pool).in_use
      0

  """
  @spec async(Penstock.gate(), Penstock.work(term), [option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async(gate, fun, opts \\ []), do: async_by(gate, Options.fun!(fun), opts)

  @doc """
  Starts a task as `async/3` does, but the task calls `apply(module, function, args)`.

  Returns `{:ok, %Task{}}` or `{:error, reason}`. Takes the options of `async/3`, and raises as
  `start/5`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, task} = Penstock.Task.async(pool, Enum, :sum, [[1, 2, 3]])
      iex> {task.mfa, Task.await(task)}
      {{Enum, :sum, 1}, 6}

  """
  @spec async(Penstock.gate(), module, atom, [term], [option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async(gate, module, function, args, opts \\ []) do
    async_by(gate, Options.mfargs!(module, function, args), opts)
  end

  @doc """
  Starts a task as `async/3` does, and returns the bare `%Task{}`.

  Takes the options of `async/3`. Raises `Penstock.RejectedError` if the gate refuses, and
  otherwise as `async/3`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> pool |> Penstock.Task.async!(fn -> 6 * 7 end) |> Task.await()
      42
      iex> Penstock.Task.async!(pool, fn -> :never end, permits: 2)
      ** (Penstock.RejectedError) #Penstock.Pool<in_use: 0, limit: 1> did not admit: :full (2 permits were asked for, above the limit of 1)

  """
  @spec async!(Penstock.gate(), Penstock.work(term), [option]) :: Task.t()
  def async!(gate, fun, opts \\ []), do: admitted!(async(gate, fun, opts), gate, opts)

  @doc """
  Starts a task as `async!/3` does, but the task calls `apply(module, function, args)`.

  Returns the bare `%Task{}`. Takes the options of `async/3`. Raises `Penstock.RejectedError` if
  the gate refuses, and otherwise as `start/5`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> pool |> Penstock.Task.async!(Enum, :sum, [[1, 2, 3]]) |> Task.await()
      6

  """
  @spec async!(Penstock.gate(), module, atom, [term], [option]) :: Task.t()
  def async!(gate, module, function, args, opts \\ []) do
    admitted!(async(gate, module, function, args, opts), gate, opts)
  end

  @doc """
  Returns a stream that calls `fun` with each element of `enumerable`, each time in a task that
  the gate admits.

  The results are `{:ok, value}` or `{:exit, reason}`. Results, their order, options, links and
  exits are as those of `Task.async_stream/3`, except for the differences below. In addition, the
  stream takes a permit for each task before it creates the task. So one gate bounds the tasks of
  all streams that ask it.

  The stream is a function of arity 2, as enumerables can be. It starts no task before a process
  consumes it.

  Raises `ArgumentError` if `gate` is not a running gate, `fun` is not a function of arity 1, or
  an option is unknown or of the wrong kind. The stream itself raises `ArgumentError` when it
  begins, if the gate is not running any more, or if the gate is a keyed pool or a ban and there is no `:key`.

  ## Waiting

  The stream pulls an element first, and then asks for the permit of that element's task. Until
  the permit is granted, the stream continues to deliver results. While the consumer works on a
  result, the stream has no place in the wait queue and holds no unused permit. So a slow consumer
  takes nothing from other callers.

  Behind a `Penstock.RateLimiter` the stream reserves a turn for each element, as
  `Penstock.RateLimiter.acquire/3` does. If the turn comes within `:acquire_timeout`, the stream
  waits for it. If the stream ends before the turn, the turn is wasted.

  The stream waits for a turn in whole ms. At more than about 250 turns per second it therefore
  falls behind the rate, unless `burst × per / limit` of the limiter is 4 ms or more. Behind a
  `Penstock.Ban` the stream checks the key of each element and never waits.

  ## Refusals

  When the gate refuses, the stream kills its running tasks and raises `Penstock.RejectedError` in
  the consumer. Results that the stream has not delivered, because the result of an earlier
  element is missing, are lost. The reason is one of

    * `:timeout` - the permit of a task did not come within `:acquire_timeout`
    * `:full` - no permit was free, with `acquire_timeout: 0`
    * `:queue_full`, `:closed`, `:deadlock` - as in "Refusals" of `Penstock`
    * `{:rate_limited, ms}` - the turn of an element would come after `:acquire_timeout`
    * `{:banned, ms}` - the key of an element is banned

  A stream is over when it has ended, was halted or raised, or its consumer died. Then it holds no
  permit, and leaves no process and no message behind.

  ## Options

    * `:acquire_timeout` - how long to wait for the permit of one task, or its turn behind a
      limiter, in ms or `:infinity`. The time that the consumer works on results does not count.
      Default `:infinity`
    * `:max_concurrency` - the most tasks of this stream that run at once. Default: the number of
      schedulers online
    * `:ordered` - `true`: results come in the order of the elements; `false`: as tasks end.
      Default `true`
    * `:timeout` - the longest time that one task can run, in ms or `:infinity`. Default `5_000`
    * `:on_timeout` - `:exit`: the consumer exits; or `:kill_task`: the result is `{:exit,
      :timeout}`. Default `:exit`
    * `:zip_input_on_exit` - `true`: the result of a failed task is `{:exit, {element, reason}}`;
      `false`: it is `{:exit, reason}`. Default `false`
    * `:key`, `:cost` - the key and the cost of each task, as in `start/3`; or a function of arity
      1 that returns it, such as `key: & &1.host`. The consumer calls this function once with each
      element. If the function fails, the stream ends as if the enumerable had failed. If it
      returns a wrong key or cost, the stream raises `ArgumentError`. Behind a pool the function
      is not called

  ## Differences to `Task.async_stream/3`

    * When the consumer dies, by any exit, its tasks die too. With `Task.async_stream/3`, tasks
      that trap exits continue, and so do all tasks if the consumer ended normally or because a
      task took too long.
    * A suspended stream continues only in the process that suspended it, and only once.
    * An enumerable may give several elements in one step, as `Stream.concat/2` of `Stream.take/2`
      does. These elements wait in a queue. If one step gives more than 1_000_000 elements, the
      stream raises `ArgumentError`.
    * A task may be killed up to 50 ms after its `:timeout`. A late task that has unlinked itself
      is killed when the consumer next waits.
    * An unknown option raises `ArgumentError`, and so do a number above 2_147_483_647 and a flag
      that is neither `true` nor `false`.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 10)
      iex> pool |> Penstock.Task.async_stream(1..3, &(&1 * &1)) |> Enum.to_list()
      [ok: 1, ok: 4, ok: 9]
      iex> {:ok, _} = Penstock.RateLimiter.start_link(name: MyApp.PerHost, limit: 10, per: 60_000)
      iex> urls = [%{host: "a.org", path: "/"}, %{host: "b.org", path: "/about"}]
      iex> MyApp.PerHost |> Penstock.Task.async_stream(urls, & &1.path, key: & &1.host) |> Enum.to_list()
      [ok: "/", ok: "/about"]
      iex> Penstock.RateLimiter.peek(MyApp.PerHost, "a.org")
      {:allow, 8}

  """
  @spec async_stream(Penstock.gate(), Enumerable.t(), (term -> term), [stream_option]) :: Enumerable.t()
  def async_stream(gate, enumerable, fun, opts \\ []) do
    unless is_function(fun, 1), do: Options.expected!("fun", "a function of arity 1", fun)
    stream(gate, enumerable, fun, opts)
  end

  @doc """
  Returns a stream as `async_stream/4` does, but each task calls
  `apply(module, function, [element | args])`.

  For example, `async_stream(gate, [1, 2], Integer, :to_string, [2])` calls
  `Integer.to_string(1, 2)` and `Integer.to_string(2, 2)`. Options come last, after `args`. Takes
  the options of `async_stream/4`, and raises as `async_stream/4`. Also raises if `module` or
  `function` is not an atom, or `args` is not a list.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 10)
      iex> Enum.to_list(Penstock.Task.async_stream(pool, [1, 2], Integer, :to_string, [2]))
      [ok: "1", ok: "10"]
      iex> stream = Penstock.Task.async_stream(pool, [3], Integer, :to_string, [2], max_concurrency: 1)
      iex> Enum.to_list(stream)
      [ok: "11"]

  """
  @spec async_stream(Penstock.gate(), Enumerable.t(), module, atom, [term], [stream_option]) :: Enumerable.t()
  def async_stream(gate, enumerable, module, function, args, opts \\ []) do
    stream(gate, enumerable, Options.mfargs!(module, function, args), opts)
  end

  defp start_by(create, gate, call, opts) do
    Launcher.start({gate, Resolver.ref!(gate)}, call, Request.start!(opts, 0), create)
  end

  defp async_by(gate, call, opts) do
    Launcher.async({gate, Resolver.ref!(gate)}, call, Request.start!(opts, 5_000))
  end

  defp admitted!({:ok, task}, _gate, _opts), do: task

  defp admitted!({:error, reason}, gate, opts) do
    raise RejectedError, gate: gate, reason: reason, permits: Keyword.get(opts, :permits, 1)
  end

  defp stream(gate, enumerable, function, opts) do
    opts = Options.known!(opts, @stream_options)
    if swapped?(gate, enumerable), do: Resolver.not_a_gate!(gate, "the gate comes first, then the enumerable")
    Resolver.kind!(gate)
    config = Penstock.Task.Stream.Config.options!(gate, enumerable, function, opts)
    &Penstock.Task.Stream.reduce(&1, &2, config)
  end

  # Returns `true` if the gate and the enumerable are swapped. A gate is an atom or a
  # `%Penstock.Pool{}`, and an enumerable is neither.
  defp swapped?(gate, enumerable) do
    (is_atom(enumerable) or is_struct(enumerable, Penstock.Pool)) and not is_atom(gate) and
      not is_struct(gate, Penstock.Pool)
  end
end
