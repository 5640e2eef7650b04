defmodule Penstock.DynamicSupervisor do
  @moduledoc """
  A `DynamicSupervisor` that starts a child only if a gate admits it.

      children = [
        {Penstock.DynamicSupervisor, name: MyApp.Sessions, limit: 1_000}
      ]

      {:ok, pid} = Penstock.DynamicSupervisor.start_child(MyApp.Sessions, {MyApp.Session, user})

  One of two options gives the *gate*:

    * With `limit: n` the supervisor has a pool of its own, under the supervisor's name. So
      `Penstock.Pool.info(MyApp.Sessions)` and `Penstock.Pool.update(MyApp.Sessions, limit:
      2_000)` work
    * With `gate: MyApp.Budget` the gate is a gate of any kind that other work can ask too: see
      `Penstock`

  A child holds its permit until it dies. The caller of `start_child/3` asks the gate itself. So a
  refusal is cheap: it involves no supervisor process. `Penstock.child_spec/3` describes the
  restart of a child.

  With `partitions: n` there are `n` supervisors, which start children at the same time. The
  children of all `n` share one limit.

  ## Elixir's own functions

  The name belongs to a process of Penstock, and the supervisors of the children are below that
  process. Elixir's functions that start a child would bypass the gate, so the process refuses
  them. `DynamicSupervisor.start_child/2` with that name starts nothing, and returns
  `{:error, {:not_gated, "call Penstock.DynamicSupervisor.start_child/3"}}`. The other functions
  that start a child return or raise the same error. The supervisor and its children live on.

  Elixir's functions that read or end children work as usual, for all partitions together:
  `which_children/1`, `count_children/1`, `terminate_child/2` and `stop/3`.

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Moved, limit: 10)
      iex> DynamicSupervisor.start_child(MyApp.Moved, {Agent, fn -> 1 end})
      {:error, {:not_gated, "call Penstock.DynamicSupervisor.start_child/3"}}
      iex> DynamicSupervisor.count_children(MyApp.Moved).active
      0
  """

  alias Penstock.Admission.Request
  alias Penstock.Options
  alias Penstock.Process.GatedChild
  alias Penstock.Supervision.{Group, Partitions}

  @typedoc "The name of a supervisor, or its pid."
  @type supervisor :: atom | pid

  @typedoc "An option of `start_link/1`."
  @type option ::
          {:name, atom}
          | {:gate, Penstock.gate()}
          | {:partitions, pos_integer}
          | Penstock.Pool.option()
          | DynamicSupervisor.init_option()
          | GenServer.option()

  @typedoc "An option of `start_child/3`."
  @type child_option :: Penstock.start_option() | {:partition_key, term}

  @supervisor_options [:strategy, :max_restarts, :max_seconds, :extra_arguments]

  @doc """
  Returns the child spec of a supervisor, with the id `{Penstock.DynamicSupervisor, name}`.

  Takes the options of `start_link/1`, which checks them.

  ## Examples

      iex> Penstock.DynamicSupervisor.child_spec(name: MyApp.Sessions, limit: 5).id
      {Penstock.DynamicSupervisor, MyApp.Sessions}

  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(opts), do: Options.child_spec(__MODULE__, opts, :supervisor)

  @doc """
  Starts a supervisor, and its pool if there is a `:limit`, and links it to the caller.

  A supervisor that ends with the reason `:normal`, `:shutdown` or `{:shutdown, term}` closes its
  pool. A supervisor that crashes leaves the pool to the next supervisor of that name, as
  `Penstock.Pool` describes. The children die with their supervisor, and their deaths release
  their permits.

  Returns:

    * `{:ok, pid}`
    * `{:error, {:already_started, pid}}` - the live process `pid` has the name. With `:limit`,
      also if `pid` owns a gate of that name
    * `{:error, reason}` - the supervisor could not start

  Raises `ArgumentError` on an option that is missing, unknown or of the wrong kind, and if
  `:gate` is not running.

  ## Options

    * `:name` - an atom; required
    * `:limit` - the most children at a time: 0 to 2_147_483_647, or `:infinity`. Required, unless
      there is a `:gate`
    * `:max_waiting`, `:max_overdraft`, `:held_longer_than` - options of the supervisor's own
      pool, as in `Penstock.Pool.start_link/1`
    * `:gate` - the gate that admits the children, in place of a pool of the supervisor's own. The
      options of a pool must not be given with `:gate`
    * `:partitions` - the number of supervisors that share the children: 1 to 2_147_483_647.
      Default `1`
    * the options of `DynamicSupervisor.start_link/1` except `:max_children`: `:strategy`,
      `:max_restarts`, `:max_seconds`, `:extra_arguments`, and those of a `GenServer`. They apply
      to each partition

  ## Examples

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Games, limit: 1)
      iex> {:ok, game} = Penstock.DynamicSupervisor.start_child(MyApp.Games, {Agent, fn -> :won end})
      iex> Penstock.DynamicSupervisor.start_child(MyApp.Games, {Agent, fn -> :never end})
      {:error, :full}
      iex> Penstock.DynamicSupervisor.terminate_child(MyApp.Games, game)
      :ok

  """
  @spec start_link([option]) :: Supervisor.on_start()
  def start_link(opts), do: Partitions.start_link(__MODULE__, DynamicSupervisor, @supervisor_options, opts)

  @doc """
  Starts a child, if the gate admits it.

  `child_spec` is one that `DynamicSupervisor.start_child/2` takes. The child holds its permits
  until it dies. Each restart takes permits again. If the start fails, the permits are free again.
  A rate limiter does not refund its charge.

  Returns:

    * `{:ok, pid}` or `{:ok, pid, info}` - the child runs
    * `:ignore` - the child's start function returned `:ignore`
    * `{:error, reason}` - the gate refused, or the start failed. "Refusals" in `Penstock` lists
      the reasons of a gate, and `DynamicSupervisor.start_child/2` those of a failed start

  Raises `ArgumentError` if `supervisor` is not a running supervisor of this module, or if an
  option is unknown or of the wrong kind. The error comes before a permit is taken. Exits if the
  partition dies during the call; the permits are then free again.

  ## Options

  #{Request.docs(:start, 0)}
    * `:partition_key` - chooses the partition. An integer `n` chooses the partition with the
      number `rem(abs(n), partitions)`, so consecutive integers use the partitions in turn. Any
      other term must have at most 1 KiB in the external term format, and its hash chooses. Equal
      keys choose the same partition. Default: the pid of the caller

  ## Examples

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Rooms, limit: 10, partitions: 2)
      iex> spec = {Agent, fn -> :room end}
      iex> {:ok, _room} = Penstock.DynamicSupervisor.start_child(MyApp.Rooms, spec, partition_key: "lobby")
      iex> Penstock.DynamicSupervisor.count_children(MyApp.Rooms).active
      1
      iex> Penstock.Pool.info(MyApp.Rooms).in_use
      1

  """
  @spec start_child(supervisor, Supervisor.child_spec() | {module, term} | module | tuple, [child_option]) ::
          DynamicSupervisor.on_start_child() | {:error, Penstock.reason()}
  def start_child(supervisor, child_spec, opts \\ []) do
    group = Partitions.fetch!(__MODULE__, supervisor)
    spec = GatedChild.spec(child_spec)
    Partitions.start_child(group, spec, Request.start!(opts, 0, Partitions.child_options()), opts)
  end

  @doc """
  Terminates a child, as `DynamicSupervisor.terminate_child/2` does.

  Returns `:ok` when the child is dead, or `{:error, :not_found}` if `pid` is not a child of this
  supervisor. Raises `ArgumentError` if `supervisor` is not a running supervisor of this module,
  or `pid` is not a pid.

  ## Examples

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Tables, limit: 1)
      iex> Penstock.DynamicSupervisor.terminate_child(MyApp.Tables, self())
      {:error, :not_found}

  """
  @spec terminate_child(supervisor, pid) :: :ok | {:error, :not_found}
  def terminate_child(supervisor, pid) do
    __MODULE__ |> Partitions.fetch!(supervisor) |> Partitions.terminate_child(Options.pid!(pid))
  end

  @doc """
  Returns the children of all partitions, as `DynamicSupervisor.which_children/1` does.

  Returns a list of `{:undefined, pid, type, modules}`, with `:restarting` in place of the pid of
  a child that is being restarted. Raises `ArgumentError` if `supervisor` is not a running
  supervisor of this module.

  ## Examples

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Bots, limit: 1)
      iex> {:ok, bot} = Penstock.DynamicSupervisor.start_child(MyApp.Bots, {Agent, fn -> :bot end})
      iex> Penstock.DynamicSupervisor.which_children(MyApp.Bots) == [{:undefined, bot, :worker, [Agent]}]
      true

  """
  @spec which_children(supervisor) :: [{:undefined, pid | :restarting, :worker | :supervisor, [module] | :dynamic}]
  def which_children(supervisor) do
    for partition <- Group.partitions(Partitions.fetch!(__MODULE__, supervisor)),
        child <- DynamicSupervisor.which_children(partition),
        do: child
  end

  @doc """
  Counts the children of all partitions, as `DynamicSupervisor.count_children/1` does.

  Returns a map of four counts:

    * `:specs` - all children
    * `:active` - the children that have a process
    * `:supervisors` - the children that are supervisors
    * `:workers` - the other children

  Raises `ArgumentError` if `supervisor` is not a running supervisor of this module.

  ## Examples

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Lobbies, limit: 1)
      iex> Penstock.DynamicSupervisor.count_children(MyApp.Lobbies)
      %{active: 0, specs: 0, supervisors: 0, workers: 0}

  """
  @spec count_children(supervisor) :: %{
          specs: non_neg_integer,
          active: non_neg_integer,
          supervisors: non_neg_integer,
          workers: non_neg_integer
        }
  def count_children(supervisor) do
    __MODULE__
    |> Partitions.fetch!(supervisor)
    |> Group.partitions()
    |> Enum.map(&DynamicSupervisor.count_children/1)
    |> Enum.reduce(fn counts, sums -> Map.merge(counts, sums, fn _key, a, b -> a + b end) end)
  end

  @doc """
  Stops the supervisor and its children, as `DynamicSupervisor.stop/3` does.

  The default of `reason` is `:normal`. `timeout` is in ms, by default `:infinity`. Returns `:ok`
  when the supervisor has ended. Exits if the supervisor has not ended in time, or ended with a
  reason other than `reason`. Raises `ArgumentError` if `supervisor` is not a running supervisor
  of this module.

  ## Examples

      iex> {:ok, _pid} = Penstock.DynamicSupervisor.start_link(name: MyApp.Matches, limit: 1)
      iex> Penstock.DynamicSupervisor.stop(MyApp.Matches)
      :ok

  """
  @spec stop(supervisor, term, timeout) :: :ok
  def stop(supervisor, reason \\ :normal, timeout \\ :infinity) do
    __MODULE__ |> Partitions.fetch!(supervisor) |> Partitions.stop(reason, timeout)
  end
end
