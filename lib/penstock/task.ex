defmodule Penstock.Task do
  @moduledoc """
  Tasks behind a gate, so that all callers together run no more of them than it admits.

      {:ok, task} = Penstock.Task.async(MyApp.Jobs, fn -> fetch(url) end)
      Task.await(task)

  What `async/3` gives is a `Task` like any other: `Task.await/2`, `yield/2`, `await_many/2`, `yield_many/2`,
  `shutdown/2` and `ignore/1` work as ever, and so do links, `$callers` and the reports of crashes, which name your function.

  A task holds its permits from before its function is called until it has returned. They are back before the reply is
  seen: whoever has awaited a task can have its permit.

  ## Streams

  `Task.async_stream/3` bounds one caller; a thousand callers run a thousand times as many tasks. `async_stream/4` asks a
  gate for each task, and so bounds all callers together:

      MyApp.Outbound
      |> Penstock.Task.async_stream(urls, &fetch/1, max_concurrency: 20)
      |> Enum.to_list()

  > #### Waiting for oneself {: .warning}
  >
  > A task that starts tasks behind the same gate, and waits for them, can wait for itself: if `limit` tasks all do so, none goes
  > on. Use separate gates for parent and child work, or `timeout: 0` and `acquire_timeout: 0`.

  See [the guide](tasks.md) for when to wait and when to refuse.
  """

  alias Penstock.{Options, RejectedError}
  alias Penstock.Admission.{Request, Resolver}
  alias Penstock.Task.Launcher

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

  @stream_options Penstock.Task.Stream.known_options()

  @doc """
  Starts a task that nobody awaits, if the gate admits it.

  As `Task.start/1`, otherwise. If the caller is killed meanwhile, either `fun` is not called and nothing is held, or the task
  calls it and holds the permits.

  Returns:

    * `{:ok, pid}`
    * `{:error, reason}` - not admitted, no process was created; see "Refusals" in `Penstock`

  Raises `ArgumentError`, before anything is taken, if `gate` is not a running gate, `fun` not a function of arity 0, or an
  option unknown or of the wrong kind; and `SystemLimitError`, with the permits back, but not what a limiter has charged, if the VM has
  no place for another process.

  ## Options

    * `:timeout` - how long to wait to be admitted, in ms or `:infinity`. Default `0`
    * `:permits` - how many permits the task takes. Default `1`
    * `:key` - by which a limiter or a ban admits: any term but `nil`. A ban needs one, a limiter without one goes by `:global`, pools ignore it
    * `:cost` - what the hit on a limiter costs: 1 to 2_147_483_647. Default `1`
    * `:max_runtime` - how long it may run, in ms. It is killed with `:kill` at most 100 ms after that. `Penstock.Pool.info/1` counts it, limiters and
      bans do not. Default: for ever

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.Task.start(pool, fn -> receive do: (:stop -> :ok) end)
      iex> Penstock.Task.start(pool, fn -> :never end)
      {:error, :full}
      iex> send(pid, :stop)
      iex> {:ok, _pid} = Penstock.Task.start(pool, fn -> :ok end, timeout: 1_000)

  """
  @spec start(Penstock.gate(), (-> term), [option]) :: {:ok, pid} | {:error, Penstock.reason()}
  def start(gate, fun, opts \\ []), do: start_by(&Task.start/3, gate, Options.fun!(fun), opts)

  @doc """
  As `start/3`, for a module, function and arguments.

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
  As `start/3`, and links the task to the caller.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, pid} = Penstock.Task.start_link(pool, fn -> receive do: (:stop -> :ok) end)
      iex> pid in elem(Process.info(self(), :links), 1)
      true

  """
  @spec start_link(Penstock.gate(), (-> term), [option]) :: {:ok, pid} | {:error, Penstock.reason()}
  def start_link(gate, fun, opts \\ []) do
    start_by(&Task.start_link/3, gate, Options.fun!(fun), opts)
  end

  @doc """
  As `start_link/3`, for a module, function and arguments.

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

  As `Task.async/1`, otherwise: linked to the caller, and to be awaited by it.

  Returns:

    * `{:ok, %Task{}}`
    * `{:error, reason}` - not admitted, no process was created; see "Refusals" in `Penstock`

  Raises as `start/3` does.

  ## Options

  Those of `start/3`, but that it waits:

    * `:timeout` - how long to wait to be admitted, in ms or `:infinity`. Default `5_000`

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> {:ok, task} = Penstock.Task.async(pool, fn -> 6 * 7 end)
      iex> Task.await(task)
      42
      iex> Penstock.Pool.info(pool).in_use
      0

  """
  @spec async(Penstock.gate(), (-> term), [option]) :: {:ok, Task.t()} | {:error, Penstock.reason()}
  def async(gate, fun, opts \\ []), do: async_by(gate, Options.fun!(fun), opts)

  @doc """
  As `async/3`, for a module, function and arguments.

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
  As `async/3`, but returns the task itself, and raises `Penstock.RejectedError` when not admitted.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 1)
      iex> pool |> Penstock.Task.async!(fn -> 6 * 7 end) |> Task.await()
      42
      iex> Penstock.Task.async!(pool, fn -> :never end, permits: 2)
      ** (Penstock.RejectedError) #Penstock.Pool<in_use: 0, limit: 1> did not admit: :full (2 permits were asked for, above the limit of 1)

  """
  @spec async!(Penstock.gate(), (-> term), [option]) :: Task.t()
  def async!(gate, fun, opts \\ []), do: admitted!(async(gate, fun, opts), gate, opts)

  @doc """
  As `async!/3`, for a module, function and arguments.

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
  A stream that calls `fun` with each element of `enumerable` in a task of its own, as many at once as the gate admits.

  Everything is as `Task.async_stream/3` has it: the elements, which are `{:ok, value}` or `{:exit, reason}`, their order, the options, links
  and exits. But each task takes a permit before it is created, so that one gate bounds the tasks of all streams that ask it.

  An element is pulled first, and then its permit asked for; until there is one, results go on being delivered. While the
  consumer has control, nothing waits and no unused permit is held, so a slow consumer takes nothing from others.

  Behind a `Penstock.RateLimiter` the stream takes a turn for each element, as `Penstock.RateLimiter.acquire/3` does, and waits for it, if it comes
  within `:acquire_timeout`. The turn is reserved: if the stream ends before, it is wasted. A ban is asked for each element, and never waited for.
  The stream waits in whole ms. A limiter of more than some 250 turns per second needs a burst that is worth 4 ms or more; with less the
  stream falls behind the rate.

  When the gate refuses, the tasks that run are killed and `Penstock.RejectedError` is raised in the consumer: a permit or a turn does not come in
  time, `:max_waiting` wait already, the gate is closed, or the key is banned. Results that wait behind an earlier element are lost with the tasks.
  A stream that ended, was halted or raised, or whose consumer died, holds nothing and leaves neither process nor message.

  Returns a function, which is an enumerable.

  Raises `ArgumentError`, before anything is started, if `gate` is not a running gate, `fun` not a function of arity 1, or an
  option unknown or of the wrong kind. The enumerable raises it as it is begun, if the gate is not there any more, or is a ban and there is no `:key`.

  ## Options

    * `:acquire_timeout` - how long to wait for the permit of one task, or its turn behind a limiter, in ms or `:infinity`. What the consumer
      does meanwhile is not counted. Default `:infinity`
    * `:max_concurrency` - how many tasks of this stream may run at once. Default: the number of schedulers online
    * `:ordered` - whether results come in the order of the elements. Default `true`
    * `:timeout` - how long one task may run, in ms or `:infinity`. Default `5_000`
    * `:on_timeout` - what happens then: `:exit`, the consumer exits, or `:kill_task`, the result is
      `{:exit, :timeout}`. Default `:exit`
    * `:zip_input_on_exit` - whether the element comes with the reason, as `{:exit, {element, reason}}`. Default `false`
    * `:key`, `:cost` - as in `start/3`, of each task. The consumer calls a function of arity 1 once
      with each element: `key: & &1.host`. If it fails, the stream ends as if the enumerable had
      failed. A wrong key or cost raises `ArgumentError`. A pool calls neither

  ## Differences to `Task.async_stream/3`

    * A consumer that dies, in whatever way, takes its tasks along. There, those that trap exits run on, and all of them if it
      ended normally or because a task took too long.
    * A stream that was suspended goes on only in the process that suspended it, and only once.
    * An enumerable may give several elements in one step, as `Stream.concat/2` of `Stream.take/2`
      does. They wait for their turn. More than 1_000_000 in one step raise `ArgumentError`.
    * A task may be ended up to 50 ms after its `:timeout`. One that has undone its link is ended when the consumer waits.
    * An unknown option is an error, and so are a number above 2_147_483_647 and a flag that is neither `true` nor `false`.

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
  As `async_stream/4`, for a module, function and arguments, before which each element is put.

  ## Examples

      iex> pool = Penstock.Pool.new(limit: 10)
      iex> pool |> Penstock.Task.async_stream([1, 2], Integer, :to_string, [2], ordered: true) |> Enum.to_list()
      [ok: "1", ok: "10"]

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
    config = Penstock.Task.Stream.options!(gate, enumerable, function, opts)
    &Penstock.Task.Stream.reduce(&1, &2, config)
  end

  # No gate is a list, a map, a range or a fun, and no enumerable is an atom or a pool.
  defp swapped?(gate, enumerable) do
    (is_atom(enumerable) or is_struct(enumerable, Penstock.Pool)) and not is_atom(gate) and
      not is_struct(gate, Penstock.Pool)
  end
end
